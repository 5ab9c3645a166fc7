"""The inventory of lexical slots: groups of forms that say the same in the contexts allowed.

Written for this project (no third-party word list); each line was reviewed for meaning with its conditions.
One line a slot: ``form | form | ... ; condition ; condition``. Every form can stand in any other's place
where the conditions hold. ``slots.py`` reads the lines and explains the conditions. Marks depend on these
texts: a changed line changes what an old key means, which is why a keyring names the inventory's digest.

Rejected in review, so that nobody adds them again: primary/main ("primary key"), large/big ("big data"),
people/individuals, important/crucial, show/demonstrate, like for as, fewer/less, which/that after a comma.
"""

from __future__ import annotations

CONTRACTIONS = """
they are | they're ; prev!=than,as,what,who,where,how,which,@adj ; next!=@after_be ; follow
is not | isn't ; next!=only,just,to,in ; follow
are not | aren't ; next!=only,just,to,in ; follow
should not | shouldn't ; next!=only,just ; follow
let's | let us ; start ; next=@verb
it will | it'll ; next=@verb,be,have,also,help ; prev!=than,as,what,which
"""

NUMBERS = """
one hundred | a hundred ; next=@plural,percent,people,and ; prev!=a,the,than,of
one thousand | a thousand ; next=@plural,people,and ; prev!=a,the,than,of
one million | a million ; next=@plural,people,and ; prev!=a,the,than,of
half of the | half the ; next=@plural,people,time,population,amount,total ; prev!=first,second,other,last,a,one
twice | two times ; next=a,per,daily,weekly ; prev!=once,about,or
three times | thrice ; next=a,per,daily ; prev!=two,or,about
a dozen | twelve ; next=eggs,people,times,years ; prev!=half,a,or
the two of them | both of them
fourth, | fourthly, ; start
a quarter of | one quarter of ; next=the,all,a,its,their
a third of | one third of ; next=the,all,its,their,people
one of the two | either of the two
zero | no ; next=emissions,cost,effort,waste ; prev=with,at,of
"""

CONNECTIVES = """
additionally, | in addition, | moreover, ; start
for example, | for instance, ; start
therefore, | hence, | consequently, | accordingly, ; start
however, | that said, | even so, ; start
in conclusion, | to conclude, | in closing, ; start
in summary, | in brief, | to summarise, | to summarize, ; start
in contrast, | by contrast, ; start
in fact, | indeed, ; start
currently, | at present, ; start
sometimes, | at times, | occasionally, ; start
then, | after that, ; start
afterwards, | later on, ; start
unfortunately, | sadly, | regrettably, ; start
fortunately, | luckily, | happily, ; start
clearly, | plainly, | evidently, ; start
of course, | naturally, ; start
in other words, | put differently, | put another way, ; start
due to | owing to ; next=@det,its,their,his,her
due to | owing to | because of ; next!=@det,arrive,expire,be,begin,start,take,open,launch,finish,release ; follow
in addition to | besides | apart from | on top of ; start ; next=@ing,being,the,its,their,his,her,these,this
as well as | together with | in addition to ; after_comma ; next!=@ing
as well as | in addition to | besides ; after_comma ; next=@ing
in order to | so as to ; next!=be,the
such as | like ; after_comma ; prev!=or,and,@like_verbs
such as | including ; no_comma ; prev=@plural ; prev!=@like_verbs
as it is | since it is ; mid ; prev!=just,only,simply,is,was,such,soon,well,long,ever,much
while | whilst ; prev!=a,the,worth,every,little,short,once,long,some,that,this,all,good,quite ; follow
until | till ; prev!=up,not ; follow
based on | based upon ; follow
depending on | depending upon ; follow
depend on | rely upon ; follow
depends on | relies upon ; follow
relying on | relying upon ; follow
built on | built upon ; next=@det,its,their
focus on | focus upon | concentrate on ; follow ; prev!=a,the,its,their,your,our,strong,this,main,clear
focuses on | focuses upon | concentrates on ; follow
focusing on | focusing upon | concentrating on ; follow
reflect on | reflect upon ; follow
improve on | improve upon ; follow
regarding | concerning ; next=@det,its,their,how,what ; prev!=is,are,was
once again | yet again ; prev!=@det
before | prior to ; next=@ing ; prev!=the,day,night,year,week,ever,never,just,shortly,right,soon
over time | with time ; endish
as soon as possible | at the earliest opportunity
with the help of | with the aid of | by means of ; follow
as much as possible | as far as possible ; endish
that | which ; next=can,are,have,were ; prev=@plural,data,information,technology,software,system,process,device,algorithm,language,material,tool,product,environment,model,method,machine,energy,content,equipment ; no_comma
"""
