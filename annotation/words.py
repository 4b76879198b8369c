"""The word lists (English) for features and topics: names -> words, and a word -> its class."""

# Classes of words in an answer; a word stands in one of them only.
_CLASSES = {
    "sequence": (
        "then next after afterwards before once finally now until later meanwhile previous previously earlier again "
        "already eventually suddenly soon subsequently begin"
    ),
    "link": (
        "however but so therefore thus hence because consequently moreover furthermore additionally also since "
        "instead otherwise nevertheless similarly conversely and or yet still accordingly indeed"
    ),
    "pronoun": "it they this that these those he she his her him them their its such",
    "story": (
        "was were had said asked told felt knew thought looked walked went came saw took began turned ran stood sat "
        "smiled heard found decided lived realized whispered replied cried gave made woke"
    ),
    "person": "i me my mine myself we us our",
    "you": "you your yours yourself",
    "modal": "can may could might should",
}
# What a request asks for.
_ASKED = {
    "asks_list": (
        "list lists tips ways reasons ideas examples advantages disadvantages benefits pros types kinds things "
        "factors suggestions questions features effects uses strategies activities characteristics facts methods "
        "techniques skills names items options points topics differences compare contrast versus vs name suggest "
        "identify"
    ),
    "asks_procedure": (
        "recipe recipes step steps algorithm instructions procedure timeline chronological sequence schedule "
        "itinerary tutorial walkthrough"
    ),
    "asks_creation": (
        "story poem tale novel song lyrics letter essay speech dialogue conversation scene joke email rap haiku "
        "sonnet fiction narrative pretend imagine wp protagonist character blog post verse roleplay"
    ),
    "asks_code": (
        "code python java javascript sql php html css script bash command linux ubuntu git regex api array string "
        "class compile query android django function functions"
    ),
    "asks_ideas": (
        "tips ways ideas advice suggestions reasons examples things activities strategies methods options "
        "recommendations benefits factors questions"
    ),
    "asks_days": (
        "day days daily week weeks weekly weekend itinerary schedule timetable menu meals workout routine monday "
        "tuesday wednesday thursday friday saturday sunday morning"
    ),
    "asks_plan": (
        "plan plans planner itinerary schedule timetable menu menus meal meals workout routine breakdown trip tour "
        "vacation holiday"
    ),
    "asks_story": (
        "story poem tale novel song lyrics letter dialogue conversation scene rap haiku sonnet fiction narrative wp "
        "roleplay monologue diary script skit plot"
    ),
}
_OTHERS = {
    "imperative": (
        "add adjust allow apply arrange ask assemble attach avoid bake beat begin boil bring build calculate call "
        "check chill choose chop clean click close collect combine compare complete compute conduct connect "
        "consider contact cook cool cover create cut decide define design determine develop dip divide download "
        "drag drain draw enjoy ensure enter establish evaluate fill find finish fold follow fry gather get give go "
        "grab grate grease grill heat hold identify implement initialize insert install iterate keep knead launch "
        "lay leave let line look loop make mark measure melt mix monitor move multiply navigate open organize pack "
        "paint peel perform pick place plan plant plug pour preheat prepare press print provide pull push put read "
        "record reduce refrigerate remove repeat research return review rinse roll rub run save scan season select "
        "send serve set shape sign simmer slice slide sort spray sprinkle spread start stir store strain subtract "
        "switch take tap test tie toss track train transfer trim turn type unplug update upload use verify visit "
        "wait wash watch wear whisk wipe wrap write "
        "access aim activate align assign assess brush bend blend bookmark "
        "break brown carry carve clear climb coat configure confirm crack cream crush cultivate dice dig disconnect "
        "drive drop dry dust earn edit export feed fasten flip format garnish glue hang hire import inspect "
        "loosen layer lift list load locate lower marinate mash match monitor nail note obtain order park pat pierce "
        "poke polish pop pump purchase rake refer reinstall repair replace rest restart roast rotate sand saute scoop "
        "scrape screw scrub seal search secure separate sew sift sit slide snip soak solve stand steam sweep swipe "
        "tape taste tear thread tighten transplant trace try turn unscrew vacuum water weigh work"
    ),
    "orders": (
        "adopt drink eat embrace engage exercise express focus invest join learn leverage limit listen lose meditate "
        "participate practice practise prioritize protect quit ride share sleep speak spend stay stick stretch swim "
        "talk travel treat volunteer wake walk"
    ),
    "nouns": (
        "brush cream design drink dust exercise glue heat market nail paint plant practice press print record research "
        "review sand search season sleep steam test track train travel walk watch water"
    ),
    "weak": (
        "type kind form part piece way thing number amount range variety series set group member example source "
        "factor feature aspect fact tip reason benefit advantage disadvantage effect impact importance significance "
        "role purpose use result level process system method technique strategy approach option idea point quality "
        "management development change information knowledge people person human time year day lot bit sense great "
        "good better best bad worse new old big large small high low long short many few several different various "
        "similar unique important essential vital crucial key main major common popular famous significant simple "
        "easy hard strong weak rich fast quick regular proper right balanced healthy plenty enough daily often "
        "always usually never sometimes first last least only also just even well get make take give go come become "
        "keep help use need want try find know see look feel think say like allow provide offer contain consist "
        "belong live eat play work start begin lead cause reduce increase improve create involve require mean "
        "become ensure enhance boost promote adopt stick wake known called considered found used made based located "
        "designed available capable able likely something someone everything anything oneself yourself themselves "
        "itself same own whole every entire world"
    ),
    "numbers": ("two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"),
    "empty": (
        "a an the and or but nor of in on at to for from by with without into onto over under as is are was were be "
        "been being it its this that these those there here their his her our your my you we they he she i me them "
        "us do does did can could may might will would shall should must have has had not no if then than so such "
        "also very more most some any each other others when while which who whom whose what how why where about "
        "between through during before after one first second third next finally lastly additionally furthermore "
        "moreover however overall let's it's don't doesn't isn't aren't can't just both all up out off down two "
        "three four five per via it'll you'll you're they're sure certainly yes well include includes including"
    ),
}

CLASS_OF = {word: name for name, words in _CLASSES.items() for word in words.split()}
CLASSES = tuple(_CLASSES)
ASKED = {name: frozenset(words.split()) for name, words in _ASKED.items()}
IMPERATIVE = frozenset(_OTHERS["imperative"].split())  # with which the steps of a procedure begin
EMPTY = frozenset(_OTHERS["empty"].split())  # words that tell nothing about a topic
ORDERS = IMPERATIVE | set(_OTHERS["orders"].split())  # verbs that open a piece of advice
# Words that tell too little to be a topic where there is a better one: general ones, and verbs that are no nouns.
WEAK = set(_OTHERS["weak"].split()) | (ORDERS - set(_OTHERS["nouns"].split()))
NUMBERS = tuple(_OTHERS["numbers"].split())  # from the second on
