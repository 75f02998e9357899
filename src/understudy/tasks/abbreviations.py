"""Words before a full stop that do not end a sentence, by what they do; and words that often begin one.

NEVER: a name or a phrase follows. NUMBER: no end before a digit. MAYBE: an end only before a word of STARTERS.
"""

from __future__ import annotations


def listed(words: str) -> frozenset[str]:
    """The words of a string, parted by white space."""
    return frozenset(words.split())


NEVER = listed("""
mr mrs ms mx dr prof rev hon st mt messrs mmes gen col lt capt sgt maj cmdr adm gov sen rep pres supt
vs cf approx ca viz resp eg ie esp incl excl ibid trans
hr hrn fr frl dipl ing geb gest verh bspw bzgl bzw ggf inkl exkl evtl ugs vgl sog zzgl zzt allg ausschl einschl mind max min
m mm mme mmes mlle mlles mgr env
sr sra srta srs dn dña ud uds vd vds lic avda pág págs ej
""")
NUMBER = listed("""
no nos nr nrs num núm fig figs eq eqs eqn eqns sec sect chap ch vol vols p pp pt para art arts app tab tbl alg thm def
abb abs kap bd ziff aufl anm rn s z ex cap ref refs §
""")
MAYBE = listed("""
etc inc ltd co corp bros jr sr al ed eds dept univ est assn ave blvd rd sq ste bldg
jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun
usw usf ua uä mio mrd tsd mwst str gmbh ag jh jhdt okt dez mär
env éd édit coll janv févr avr juil déc av apr etc
edo dpto depto tel fax máx mín aprox ene abr ago dic
""")
STARTERS = listed("""
the this that these those there then thus therefore it its he his she her they their we our you your i my in on at as if when while
where who what why how however moreover furthermore finally also but and so or yet nor for from with by to after before since although
because although another all any both each every many most no not one our some such two until
der die das den dem des ein eine einen einem einer dies diese dieser dieses er sie es wir ihr ich man im in am an auf aus bei mit nach
seit von vor zu zum zur und aber oder doch denn wenn als ob weil da dann dabei damit deshalb daher danach darum hier dort so nun noch
auch nur was wer wie wo warum jede jeder jedes alle viele einige kein keine
le la les l un une des ce cet cette ces il elle ils elles nous vous on je tu et mais ou donc or ni car dans en sur sous avec pour par
pas quand si comme où qui que quoi alors ainsi puis enfin après avant depuis selon chaque plusieurs tous toutes
el los las lo una unos unas este esta esto estos estas ese esa eso él ella ellos ellas nosotros usted ustedes yo y pero o sino pues
con sin para por según cuando si como donde quien qué entonces así luego después antes desde cada todos todas no
""")
MONTHS = listed("""
januar februar märz april mai juni juli august september oktober november dezember jänner
jahrhundert jahrhunderts jahrtausend tag woche monat mal klasse stock kapitel platz auflage lebensjahr jubiläum geburtstag
""")
COMMON = {
    "en": listed("the of and to in is that it was for on with as are this by"),
    "de": listed("der die und den von zu das mit sich des auf für ist im dem nicht ein eine"),
    "fr": listed("le la les de et des en un une est que dans pour qui sur pas au par"),
    "es": listed("el la los de y en que un una es por con para las del se al"),
}
