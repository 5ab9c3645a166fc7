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
is not | isn't ; next!=only,just,to,in,simply,merely ; follow
are not | aren't ; next!=only,just,to,in,simply,merely ; follow
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

ORDER = """
products and services | services and products
time and effort | effort and time
time and money | money and time
fruits and vegetables | vegetables and fruits
needs and preferences | preferences and needs
laws and regulations | regulations and laws
stress and anxiety | anxiety and stress
words and phrases | phrases and words
skills and experience | experience and skills
vitamins and minerals | minerals and vitamins
quickly and accurately | accurately and quickly
quickly and efficiently | efficiently and quickly
quickly and easily | easily and quickly
thoughts and feelings | feelings and thoughts
goals and objectives | objectives and goals
patterns and trends | trends and patterns
history and culture | culture and history
love and affection | affection and love
strengths and weaknesses | weaknesses and strengths
positive and negative | negative and positive
images and videos | videos and images
size and shape | shape and size
parents and teachers | teachers and parents
teachers and students | students and teachers
rivers and lakes | lakes and rivers
plants and animals | animals and plants
doctors and nurses | nurses and doctors
books and articles | articles and books
joy and happiness | happiness and joy
efficiency and accuracy | accuracy and efficiency
speed and accuracy | accuracy and speed
clear and concise | concise and clear
growth and development | development and growth
norms and expectations | expectations and norms
survive and reproduce | reproduce and survive
habits and preferences | preferences and habits
strategies and techniques | techniques and strategies
tools and techniques | techniques and tools
ideas and opinions | opinions and ideas
shapes and sizes | sizes and shapes
colors and textures | textures and colors
"""
"""Equals whose order is free. Fixed pairs are not (pros and cons, research and development, salt and pepper, goods and
services, back and forth), nor where one comes of the other (supply and demand, cause and effect)."""

CONNECTIVES = """
additionally, | on top of this, | beyond this, | what is more, | besides this, | as well as this, | along with this, | aside from this, | apart from this, | over and above this, | added to this, | further to this, ; start
furthermore, | as a further point, | alongside this, | together with this, | as one more point, | to add to this, | on a further note, ; start
in addition, | in addition to that, | on top of that, | beyond that, | along with that, | alongside that, | added to that, | besides that, ; start
moreover, | more than that, | more than this, | over and above that, ; start
for example, | for instance, | as an example, | to give an example, | by way of example, | to take one example, | as one example, | to name one example, | to give one example, | as a case in point, ; start
therefore, | hence, | consequently, | accordingly, | for this reason, | for that reason, | on that account, | as a consequence, | because of this, | in consequence, ; start
however, | that said, | even so, | all the same, | then again, | having said that, | for all that, | with that said, | that being said, ; start
overall, | all in all, | on the whole, | taken as a whole, | by and large, | all told, | taken together, | all things considered, ; start
finally, | last of all, | as a last step, | to finish, | as a final step, | to end, ; start ; next=@verb,make,be,don't,remember,add,enjoy,consider
on the other hand, | on the other side, | on the flip side, | seen from the other side, ; start
in conclusion, | to conclude, | in closing, | by way of conclusion, | to close, | as a conclusion, | to end with, ; start
in summary, | in brief, | to summarise, | to summarize, | summing up, | as a summary, | by way of summary, | in sum, | in outline, ; start
in contrast, | by contrast, ; start
in fact, | indeed, ; start
in general, | as a rule, | generally speaking, | for the most part, | broadly speaking, ; start
similarly, | in a similar way, | in the same way, | likewise, | in like manner, | in similar fashion, ; start
ultimately, | in the final analysis, | in the last analysis, | when all is said and done, | at bottom, ; start
currently, | at present, ; start
sometimes, | at times, | occasionally, ; start
then, | after that, ; start
afterwards, | later on, ; start
unfortunately, | sadly, | regrettably, ; start
fortunately, | luckily, | happily, ; start
clearly, | plainly, | evidently, ; start
of course, | naturally, ; start
first, | first of all, | to begin with, | to start with, | in the first place, | for a start, ; start
firstly, | in the first instance, ; start
second, | in the second place, ; start
third, | in the third place, ; start
lastly, | as a last point, | as the last point, | to finish with, | last but not least, ; start
nevertheless, | nonetheless, | none the less, | be that as it may, ; start
in recent years, | in the last few years, | over the last few years, ; start
this is because | the reason is that | the reason for this is that | this is so because ; start
it's important to note that | it should be noted that | one should note that | it bears noting that | it helps to note that ; start
it is important to note that | it ought to be noted that | it must be noted that | it pays to note that | it is well to note that ; start
it is worth noting that | it is worth adding that | it merits a note that ; start
in other words, | put differently, | put another way, | to put it another way, | that is to say, | in different words, ; start
here are some | below are some | here follow some | these are some | the following are some ; start ; next=tips,examples,ways,ideas,of,key,common,possible,potential,suggestions,steps,general,facts,reasons,additional,strategies,popular,benefits,other,more,things
here is a | below is a | here follows a | the following is a | what follows is a ; start ; next=list,summary,brief,short,simple,possible,sample,detailed,suggested,general,basic,quick,table,breakdown,comparison,description,revised
there are | there exist ; start ; next=many,several,various,different,numerous,some
due to | owing to | because of | on account of | as a result of | in consequence of | by reason of ; next!=arrive,expire,be,begin,start,take,open,launch,finish,release ; follow
in addition to | besides | apart from ; start ; next=@ing,being,the,its,their,his,her,these
as well as | together with | in addition to | along with | alongside | plus | and also ; after_comma ; next!=@ing,to,with,by,in,for,from,on,at,as,of,how,when,through
as well as | in addition to | besides ; after_comma ; next=@ing
as well as | together with | in addition to | along with | alongside | and also ; no_comma ; prev=@plural ; prev!=does,performs,works,was,is,has,as,plays ; next=@det,other,more
in order to | so as to | as a means to | as a way to | in an effort to ; mid ; next=@verb ; prev!=means,way,effort,as
in order to | so as to ; start ; next!=be,the
such as | like | for instance | for example ; after_comma ; prev!=or,and,@like_verbs ; follow
such as | including ; no_comma ; prev=@plural ; prev!=@like_verbs
in terms of | as regards | with regard to | in respect of | with respect to ; follow ; prev!=defined,expressed,measured,think,thinking,described,thought,stated,written
as it is | since it is ; mid ; prev!=just,only,simply,is,was,such,soon,well,long,ever,much
so that | in order that ; mid ; next=@pron,the,your ; prev!=is,was,and,are,be
regardless of | irrespective of | without regard to ; follow
ensure that | make certain that | see to it that ; follow ; prev=to,and,can,will,should,must,also,helps,help
and so on | and so forth ; endish
although | though | even though ; follow ; prev!=as,even
instead of | in place of | in lieu of ; next=@ing,the,a,an,your,their,just
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
