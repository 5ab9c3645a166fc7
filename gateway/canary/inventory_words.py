"""The inventory's true synonyms, each with the contexts in which its forms mean the same.

As ``inventory.py``: one line a slot, written and reviewed for this project.
"""

from __future__ import annotations

SYNONYMS = """
used | employed | utilized ; prev=be,is,are,was,were,been,being,commonly,widely,often,also,frequently,typically ; next=in,by,for,as,with,on,when,during,across,throughout
be used to | be employed to | be utilized to ; next=@verb
is used to | is employed to | is utilized to ; next=@verb
are used to | are employed to | are utilized to ; next=@verb
was used to | was employed to | was utilized to ; next=@verb
been used to | been employed to | been utilized to ; next=@verb
by using | through using | by employing ; next=@det,its,their,various,different,more
using | utilizing | employing ; next=@det,its,their,various,different,natural,advanced,computer,machine,data,technology,energy-efficient ; prev!=by,when,of,start,started,stop,stopped,keep,avoid,consider
to use | to utilize ; next=the,a,an,your,their,various,different,technology,renewable,data ; prev!=easy,how,safe,used,ready,simple,free,easier,want,need,best
lead to | bring about | give rise to | result in ; prev=can,could,may,might,will,to,would,also,often,and,eventually,that ; follow
leads to | brings about | gives rise to | results in ; follow ; prev!=what
leading to | bringing about | giving rise to | resulting in ; follow ; after_comma
led to | brought about ; prev=has,have,also,and,which,this,that,eventually,ultimately,it ; follow
a variety of | an array of | a selection of | an assortment of | a mix of | a mixture of | a whole range of | a good range of | a diversity of | a host of | a varied set of | a varied range of ; follow
a wide range of | a broad range of | a wide array of | a great variety of | a broad array of | a wide spectrum of | a broad spectrum of | a great range of ; follow
many different | numerous different ; prev!=@det,@poss,how,as,so,too,very,of,not,great,good
a lot of | lots of | plenty of | a great deal of | a good deal of ; next=time,money,work,effort,energy,space,attention,information,room,fun,water,food,practice,research,data,hard
often | frequently | oftentimes ; prev!=more,most,less,how,very,as,too,so,not ; follow
typically | normally | ordinarily ; follow ; prev!=as,than,more,most
sometimes | at times ; mid ; follow
rarely | seldom ; follow ; prev!=only,very,more
quickly | swiftly | speedily ; prev!=as,too,how,very,so,more,most,think ; next!=as,than
quickly and | rapidly and | swiftly and ; next=efficiently,accurately,easily,effectively,safely
easily | readily ; endish ; prev!=and,more,most,as,too,so,very,how,less
easily | readily ; next=@ed,available,accessible,understand,access,be,identify,find,integrate ; prev!=more,most,as,too,so,very,how,less
difficult to | tough to ; next=@verb,say,tell,believe,measure,predict,imagine,come
try to | seek to ; next=@verb,be ; prev!=@det,@poss
allows you to | enables you to ; follow
allowing you to | enabling you to ; follow
allow businesses to | enable businesses to ; follow
allow companies to | enable companies to ; follow
choose | pick ; next=a,an,the,your,one
choosing | picking ; next=a,an,the,your,one
ability to | capacity to ; next=@verb,think,process,adapt,learn,work,communicate,perform,understand,handle,store,access,analyze,quickly
want to | wish to ; prev=you,we,they,people,i,who,users,may,might ; next=@verb,be,go,know,do,learn,see
wants to | wishes to ; next=@verb,be,go,know,do,learn,see
make sure to | take care to | be sure to | be certain to | make certain to | remember to | never forget to ; follow ; prev!=sure,always,not,to,is,please,you
ensuring that | guaranteeing that ; follow
ensures that | guarantees that ; follow
stay | keep ; next=healthy,calm,focused,active,fit,safe,alert,warm,cool,productive
staying | keeping ; next=healthy,calm,focused,active,fit,safe,alert
provides a | gives a | supplies a ; follow
provides an | gives an | supplies an ; follow
provide a | give a | supply a ; prev=to,can,also,and,could,will,that,which,would,they,should ; follow
provide an | offer an | give an | supply an ; prev=to,can,also,and,could,will,that,which,would,they,should ; follow
providing a | giving a | supplying a ; follow
provide more | offer more ; next=@plural,accurate,personalized,detailed,information,efficient
provide users with | offer users ; follow
providing customers with | offering customers | giving customers ; follow
provides access to | offers access to | gives access to ; follow
providing access to | offering access to | giving access to ; follow
reduce | decrease | cut ; next=the,your,our,their,its,costs,stress,emissions,pollution,energy ; prev!=@det
reducing | decreasing | lowering | cutting ; next=the,your,our,their,its,costs,stress,emissions,pollution,energy,our
reduces | lowers | cuts ; next=the,your,our,their,its,costs,stress,emissions,pollution
reduced | decreased | lowered ; next=the,costs,stress,emissions,risk,pollution ; prev!=@det
increase the | boost the | raise the ; next=number,amount,level,efficiency,risk,value,chances,likelihood,accuracy,speed,likelihood ; prev=to,can,could,and,also,will,may,help,would,significantly
increasing the | boosting the | raising the ; next=number,amount,level,efficiency,risk,value,chances,likelihood,accuracy,speed
essential for | vital for | critical for ; prev=is,are,be,also,was ; follow
essential to | vital to ; prev=is,are,be,also,was ; follow
essential that | vital that | crucial that | critical that ; prev=is,it's,be,also
a crucial role in | a pivotal role in | a central role in ; follow
a major role in | a large role in | a big role in ; follow
an important part of | a vital part of ; follow
types of | kinds of | sorts of ; prev!=two,three,four,five,main ; next!=data,error,errors,cancer,blood,diabetes ; follow
type of | sort of ; prev=a,any,this,some,each,same,what,another,every,one,the ; next!=data,diabetes,blood,cancer ; follow ; prev!=kind
everyone | everybody ; next!=of,else's
someone | somebody ; next!=of
anyone | anybody ; next!=of
anything else | anything more ; endish
almost | nearly ; next=half,two,three,four,five,ten,twice
about | roughly ; next=# ; prev!=of
over | more than ; next=# ; prev=for,with,has,have,in,spans,contains,by,features,had,sold,won,of
fully | totally | wholly ; follow ; prev!=not,n't,more,most,so
primarily | chiefly ; follow ; prev!=more
especially | notably ; after_comma ; next=@det,when,if,in,those,as,for,during,with,its,their
extremely | exceptionally | exceedingly ; prev=is,are,was,were,be,been,it's ; follow
exactly | precisely ; next=what,how,the,where,when,why ; prev!=not
immediately | straight away ; endish ; prev!=almost
occurs when | happens when ; follow
located in | situated in ; prev=is,are,was,were ; follow
located on | situated on ; prev=is,are,was,were ; follow
located at | situated at ; prev=is,are,was,were ; follow
around the world | across the world | throughout the world | the world over ; endish
each week | every week ; prev!=almost,nearly,of
every morning | each morning ; prev!=almost,nearly,of
large amounts of | large quantities of ; follow
a large number of | a great number of | a high number of ; follow
large number of | great number of ; prev!=a ; follow
the importance of | the significance of ; follow
think about | reflect on ; next=what,how,why,your
help with | aid with ; follow ; prev!=the,of,your
talk to | speak to ; next=@det,your,people,someone,others,customers
known for | noted for ; prev=is,are,was,also,well ; next=its,their,his,her,the
vast | huge ; prev=the,this,its,their,these,such
enough | sufficient ; next=time,sleep,water,space,food,energy,money,rest,resources,evidence,funds ; prev!=a
help in | aid in ; next=@ing,the
show up | turn up ; endish
performing | carrying out ; next=the,a,tasks,research,specific,various
participate in | join in ; follow
learn | discover ; next=what,how,why,where
keep in mind | bear in mind ; follow
it's worth noting that | note that ; follow
as long as | so long as | provided that ; next=@pron,the,your,there ; prev!=for,last,lasts,twice,times
throughout history | through history ; endish
nowadays, | these days, ; start
a long time | a good while ; prev=for,take,takes,took ; endish
in the past | in years past | in former times ; start
despite | notwithstanding ; next=@det,his,her,its,their,being,having ; prev!=but
also | additionally | likewise ; prev=can,should,will,may,could,it,they,you,has,have,must,would,might,we,he,she,are,is ; next!=known,called,referred,a,an,the
making it | rendering it ; next=easier,more,possible,difficult,easy,ideal,harder,impossible,suitable,useful,an,a,one,less
makes it | renders it ; next=easier,more,possible,difficult,easy,ideal,harder,impossible,suitable,useful,less
among | amongst ; follow
one of the most | among the most ; prev=is,was,as,are ; follow
so | and so ; after_comma ; next=it,you,they,we,he,she,i,the,this,there,it's,you'll,i'm
but | yet ; after_comma ; next=it,they,we,he,she,i,the,this,there,it's,a,an,with,in,is,are,was,can,if,when,some,these,his,her,its,at,you
easy to | simple to ; next=use,understand,make,follow,read,maintain,navigate,clean,prepare,learn,set,implement,access
easier to | simpler to ; next=@verb,set,access,get,see
faster | quicker ; next=than,and,to,more,access,processing,response,service,delivery,results,way
larger | bigger ; next=than,and,scale,number,amounts,size
happy to | glad to ; next=help,hear,assist,see,answer,provide,discuss
achieve | attain ; next=@det,@poss,goals,success,better,desired,greater
achieving | attaining ; next=@det,@poss,goals,success,better,desired,greater
achieved | attained ; next=by,through,with,in,when,its,their,his,her
understand | comprehend ; next=the,how,what,why,complex,and,human ; prev!=@det
previous | prior ; next=experience,knowledge,years,work,year,day,results,orders,research,purchases,studies,data,section,experiences
amount of | quantity of ; prev=the,large,small,certain,total,right,vast ; next=data,water,energy,food,light,oxygen,fuel,sugar,waste,material,carbon,salt,heat,information,air,electricity,plastic,pollution
again | once more ; endish ; prev!=once,over,and,yet,time,back,never
not just | not simply ; next=a,an,the,about,for,in,with,to,of
not only | not merely ; next=@verb,a,the,in,for,about,helps,provides,be,does,has,makes,improves,reduces,saves
about | relating to ; prev=information,questions,concerns,data,details,facts,research,news,knowledge,inquiries,feedback,decisions ; next=@det,how,what,@poss,products,different
data is | data are ; prev=the,when,that,all,^ ; next=being,collected,stored,used,analyzed,processed,not,then,sent,kept,transmitted,protected,secure,accurate,organized
compared to | compared with ; follow
filled with | full of ; prev=was,is,are,were,and,be,heart,eyes,life ; next=joy,life,love,wonder,hope,excitement,people,beauty,energy,surprises,adventure,laughter,flowers,memories,color,the,a
a sense of | a feeling of ; next=belonging,joy,calm,peace,pride,relief,accomplishment,security,wonder,comfort,satisfaction,unity,achievement,awe,warmth,happiness,safety,excitement,purpose,nostalgia,mystery
different from | different to ; follow
in addition to | as well as ; start ; next=@ing,its,their,the
despite this, | in spite of this, | for all this, ; start
as well, | too, ; mid
as well | too ; endish ; prev!=@det,@poss,just,be
recently | lately ; prev=has,have,had,i've
everywhere | all over the place ; endish
frequently asked | often asked ; follow
obtained | acquired ; next=from,by,through
assist you | help you ; prev=can,to,could,will,may ; next=in,with
located near | situated near ; follow
each other | one another
every day | each day ; prev!=almost,nearly,of
every year | each year ; prev!=almost,nearly,of
every month | each month ; prev!=almost,nearly,of
usually | commonly ; follow ; prev!=as,than,more,most
throughout the | all through the ; next=day,year,night,week,winter,summer,season,story,book,novel,process,body
at least | no less than | not less than ; next=# ; prev!=a
less than | under ; next=# ; prev!=no,not,nothing
in the future | in times to come | in the years to come ; endish ; prev!=point,time,date,and
a series of | a sequence of | a succession of ; follow
a combination of | a blend of | a union of ; follow
is composed of | is made up of | is comprised of ; follow
are composed of | are made up of | are comprised of ; follow
refers to | denotes ; next=the,a,an ; prev!=which,that,it,also,and
various | varied | assorted | diverse ; next=@plural ; prev!=@det,@poss,as,so,more,very ; next!=is,was,has,as,its,this
very | highly | greatly ; next=effective,useful,popular,valuable,beneficial,efficient,successful,helpful,important
keep track of | keep a record of ; follow
take care of | look after ; next=@det,@poss ; prev!=to,be,was,is
is known as | goes by the name of ; follow ; prev!=also,what,which,and,that
a few | a handful of | a small number of ; next=tips,examples,ways,things,key,people,steps,ideas,different,simple,options,suggestions,reasons,common,companies,countries,words,points,factors,friends,questions ; prev!=quite,just,only,the,but
many | numerous | a great many | a good many ; next=people,ways,benefits,different,other,factors,reasons,advantages,things,companies,types,countries,businesses,aspects,industries,applications,forms,uses,species,options,opportunities,challenges,problems,areas,cases,cultures ; prev!=@det,@poss,how,so,too,as,very,not,no,many,great,good
a great way to | a fine way to | an excellent way to | a splendid way to ; follow
each person | every person ; follow
broken down into | split into ; follow
split into | divided into ; prev=is,are,be,was,were
talk about | discuss ; next=@det,@poss,how,what ; prev=to,can,could,will,and,you,we
talked about | discussed ; next=@det,@poss,how,what
gives you | affords you ; next=the,a,more
gives us | affords us ; next=the,a,more
giving you | affording you ; next=the,a,more
allows the | permits the ; follow
allowing for | permitting ; next=more,greater,better,the,a
allows for | permits ; next=more,greater,better,the,a
allows it | permits it ; next=to
allowing it | permitting it ; next=to
allows them | permits them ; next=to
allow you | permit you ; next=to
allows you | permits you ; next=to
allowing you | permitting you ; next=to
allowing users | permitting users ; next=to
allows users | permits users ; next=to
allowing them | permitting them ; next=to
allowing us | permitting us ; next=to
allows us | permits us ; next=to
requires | calls for ; next=a,an,careful,more,patience,the,less ; prev!=law,which
require | call for ; next=a,an,careful,more,patience,the,less
avoid | steer clear of ; next=@ing,processed,sugary,fried,foods
located | situated ; endish ; prev=is,are,was,were
near | close to ; next=the,a,your,his,her,their ; prev!=in,the
close to | near to ; next=the,a,your,his,her,their ; prev!=come,came,very,so
close by | near by ; endish
the reason why | the reason ; next=@pron,people,the,this
in the event of | in case of ; follow
in case of | in the event of ; prev!=just
most common | commonest ; prev=the ; next=type,types,form,causes,cause,reason,reasons,way,ways,uses,symptoms
more common | commoner ; endish ; prev!=much
more likely | likelier ; next=to,that
has also | has additionally ; next=been,had,led,become
have also | have additionally ; next=been,had,led,become
"""

SPELLING_STEMS = """
organ recogn real optim minim maxim priorit summar emphas personal custom visual stabil character categor
symbol special apolog revolution modern standard critic author memor final general
neutral normal random crystall fertil steril energ mobil social local moistur synthes
harmon popular synchron central scrutin vocal ideal immun hypothes
"""

SPELLING = """
analyze | analyse
analyzes | analyses ; prev=it,and,that,which,system,model,algorithm,software,then,also,company ; next=@det,data,large,user
analyzed | analysed
analyzing | analysing
color | colour ; prev!=#
colors | colours
colored | coloured
colorful | colourful
coloring | colouring
behavior | behaviour
behaviors | behaviours
behavioral | behavioural
favorite | favourite
favorites | favourites
favor | favour
favorable | favourable
flavor | flavour
flavors | flavours
flavorful | flavourful
labor | labour
neighbor | neighbour
neighbors | neighbours
neighborhood | neighbourhood
neighborhoods | neighbourhoods
neighboring | neighbouring
honor | honour
honored | honoured
honors | honours
humor | humour
harbor | harbour
endeavor | endeavour
endeavors | endeavours
rumors | rumours
vapor | vapour
savory | savoury
center | centre
centers | centres
centered | centred
theaters | theatres
fiber | fibre
fibers | fibres
meters | metres
liters | litres
kilometers | kilometres
travelers | travellers
modeling | modelling
labeled | labelled
labeling | labelling
canceled | cancelled
counseling | counselling
fueled | fuelled
fulfill | fulfil
skillful | skilful
jewelry | jewellery
marvelous | marvellous
defense | defence
offense | offence
aging | ageing
cozy | cosy
catalog | catalogue
dialogue | dialog
analog | analogue ; prev!=#
acknowledgment | acknowledgement
airplane | aeroplane
airplanes | aeroplanes
maneuver | manoeuvre
mom | mum
learned | learnt ; prev=have,has,had,i,we,he,she,they,be
burned | burnt ; prev=are,is,be,been
spelled | spelt
healthcare | health care
percent | per cent
skeptical | sceptical
plow | plough
mold | mould ; prev!=to
artifacts | artefacts
pediatric | paediatric
tumor | tumour
odor | odour
odors | odours
armor | armour
well-being | wellbeing
decision-making | decision making ; prev!=#
problem-solving | problem solving
email | e-mail
emails | e-mails
website | web site
websites | web sites
online | on-line ; prev!=on,based
cooperation | co-operation
cooperate | co-operate
coordination | co-ordination
coordinate | co-ordinate ; prev!=x,y,the,#
e-commerce | ecommerce
nonprofit | non-profit
smartphone | smart phone
smartphones | smart phones
policymakers | policy makers
ongoing | on-going ; prev!=on
worldwide | world-wide
lifelong | life-long
nationwide | nation-wide
teammates | team mates
coworkers | co-workers
anymore | any more ; endish
forever | for ever ; endish
paralyzed | paralysed
catalyze | catalyse
encyclopedia | encyclopaedia
mustache | moustache
pajamas | pyjamas
aluminum | aluminium
inquiry | enquiry
inquiries | enquiries
inquire | enquire
practicing | practising
practiced | practised
fulfillment | fulfilment
enrollment | enrolment
installment | instalment
woolen | woollen
specialty | speciality
ax | axe
disk | disc ; prev!=hard,floppy,#
program | programme ; prev=training,exercise,fitness,television,tv,loyalty,education,mentorship,mentoring,rewards,recycling,wellness,development
programs | programmes ; prev=training,exercise,fitness,television,tv,loyalty,education,mentorship,social,government,wellness,recycling
traveled | travelled
theater | theatre
"""
