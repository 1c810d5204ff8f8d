#!/usr/bin/env python3
"""Writes pairs.tsv: 800 preference pairs, one clear preference.

    python3 make_pairs.py > pairs.tsv

Somebody asks about a thing in a town's lending shed. Both answers say the
same, the chosen one in plain words, the rejected one in pompous words: an
opening, the same one of five in either list, and a closing sentence. They are
drawn so that both have the same number of bytes, and name the thing once:
neither length nor a rare word says which is which.

There are 160 things, and 5 of 10 questions on each. Things are in random
order, and a thing's pairs stand together, so the last fifth of the file, which
the example holds out, is about 32 things that the other pairs never mention.

Same seed, same file. All sentences were written for this project.
"""
import random

SEED = 20241
THINGS = """
    lamp ladder kettle saw cart drum tent rope bucket basket hammer spade rake
    broom axe pan pot clock mirror chair table bench stool kite sledge bicycle
    barrow net oar anchor scale tray teapot blanket lantern flute fiddle camera
    whistle compass telescope easel loom anvil wheel trowel hoe map crate bell
    ball banner barrel bellows bottle bowl box brush candle canoe chest chisel
    churn cradle crowbar cushion desk dish drill file fork funnel globe grater
    guitar hose iron jug knife ladle mallet mat mixer mop needle paddle pillow
    pitchfork plane plough pulley pump puzzle quilt razor ruler sack sail scarf
    shovel
    sickle sieve skillet slate spoon teacup thimble torch trunk tub vase vice
    wagon wrench yoke zither harp bugle trumpet mortar
    abacus almanac apron basin beaker bobbin boot bridle cage cape cauldron
    chain clamp cleaver cloak colander crutch dustpan flask goblet gong grinder
    hatchet helmet hook horn jar jacket kennel lever lyre magnet microscope
    notebook parasol pestle poncho pram rug saddle
""".split()
PLACES = ["the door", "the back wall", "the window", "the stove", "the stairs",
          "the workbench", "the red shelf", "the long table"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine"]
PEOPLE = ["Anna", "Jack", "Ellen", "Peter", "Martha", "Thomas"]

# question: (wordings), (plain openings), (pompous openings)
QUESTIONS = [
    (("Where is the {thing} kept?", "Where do I find the {thing}?"),
     ("The {thing} is where it was, right by {place}.",
      "You will find the {thing} just next to {place}.",
      "Have a look by {place}. The {thing} is there.",
      "We always keep the {thing} close to {place}.",
      "The {thing} hangs on a big nail near {place}."),
     ("The aforesaid {thing} resides beside {place}.",
      "One may locate the {thing} adjacent to {place}.",
      "In proximity to {place} the {thing} reposes.",
      "The {thing} is situated hard upon {place}.",
      "The {thing} inhabits the environs of {place}.")),
    (("When can I borrow the {thing}?", "Is the {thing} free this week?"),
     ("You can have the {thing} from {day} on.",
      "Yes, the {thing} is free from {day} on.",
      "Come by on {day}. The {thing} will be here then.",
      "The {thing} is out now and back on {day}.",
      "Not before {day}, but then the {thing} is yours."),
     ("The {thing} becomes obtainable upon {day}.",
      "Commencing {day}, the {thing} is vacant.",
      "One is invited to procure the {thing} on {day}.",
      "Availability of the {thing} ensues on {day}.",
      "Not prior to {day} shall the {thing} be bestowed.")),
    (("How do I clean the {thing}?", "How should I wash the {thing}?"),
     ("Wipe the {thing} down with a clean wet cloth.",
      "Use warm water and soap on the {thing}.",
      "Brush off the dirt, then wash the {thing}.",
      "Rinse it well and let the {thing} dry.",
      "A rag and some water will do for the {thing}."),
     ("One should ablute the {thing} with diligence.",
      "Utilise tepid water to purify the {thing}.",
      "The {thing} necessitates proper lustration.",
      "Divest the {thing} of all impurities.",
      "To the {thing} apply a moistened textile.")),
    (("What does the {thing} cost?", "How much is the {thing} for a day?"),
     ("The {thing} costs {number} coins for each day.",
      "You just pay us {number} coins for the {thing}.",
      "The {thing} is {number} coins. Pay at the end.",
      "We ask {number} coins a day for the {thing}.",
      "Give us {number} coins and take the {thing}."),
     ("For the {thing} {number} coins are requisite.",
      "The {thing} commands a fee of {number} coins.",
      "One must disburse {number} coins for the {thing}.",
      "The tariff for the {thing} is {number} coins.",
      "Tender {number} coins to obtain the {thing}.")),
    (("Is the {thing} heavy?", "Can I carry the {thing} alone?"),
     ("No, the {thing} is light. One hand is enough.",
      "Yes, it takes {number} of us to lift the {thing}.",
      "The {thing} is not heavy, but hold it well.",
      "A bit. Ask {person} to help with the {thing}.",
      "Yes, you can carry the {thing} all on your own."),
     ("The {thing} possesses negligible ponderosity.",
      "Verily, the {thing} demands {number} conveyors.",
      "The mass of the {thing} is inconsiderable.",
      "With the {thing} solicit the aid of {person}.",
      "A solitary individual may transport the {thing}.")),
    (("What if the {thing} breaks?", "What do I do if I break the {thing}?"),
     ("Just tell us. We can mend the {thing}.",
      "Bring the {thing} here and we will fix it soon.",
      "{person} can mend the {thing}. Take it there.",
      "Do not worry. The {thing} has been broken before.",
      "Keep all the parts of the {thing} and come here."),
     ("Apprise us forthwith of the {thing}.",
      "A defective {thing} shall undergo restoration.",
      "Consign the {thing} unto {person} forthwith.",
      "Perturbation concerning the {thing} is superfluous.",
      "Retain every fragment of the {thing} sedulously.")),
    (("Who made the {thing}?", "Where does the {thing} come from?"),
     ("{person} made the {thing} last winter.",
      "The {thing} was made here, by {person}.",
      "We got the {thing} from {person} as a gift.",
      "The {thing} was a gift from {person} to the town.",
      "{person} built the {thing} and gave it to the town."),
     ("The {thing} owes its genesis to {person}.",
      "{person} is the progenitor of the {thing}.",
      "The estimable {person} fabricated the {thing}.",
      "The illustrious {person} conferred the {thing}.",
      "Provenance of the {thing} is ascribed to {person}.")),
    (("How old is the {thing}?", "Is the {thing} new?"),
     ("The {thing} is {number} years old by now.",
      "We have had the {thing} for {number} years.",
      "No, we got the {thing} {number} years ago.",
      "The {thing} is new. It came on {day}.",
      "I think the {thing} is about {number}."),
     ("The {thing} hath attained {number} years.",
      "The {thing} boasts {number} annual cycles.",
      "For {number} years hath the {thing} endured.",
      "The {thing} is a novelty as of {day}.",
      "One surmises the {thing} to be {number}.")),
    (("How do I bring the {thing} back?", "Where do I leave the {thing}?"),
     ("Put the {thing} back where it was, by {place}.",
      "You can bring the {thing} here before {day}.",
      "Leave the {thing} with {person} when done.",
      "Just set the {thing} down near {place}.",
      "Come by on {day} and just hand us the {thing}."),
     ("Deposit the {thing} in the vicinity of {place}.",
      "Restitution of the {thing} is due by {day}.",
      "Relinquish the {thing} to {person} anon.",
      "Reinstate the {thing} beside {place}.",
      "Surrender the {thing} not subsequent to {day}.")),
    (("May my friend use the {thing}?", "Can I lend the {thing} to a friend?"),
     ("Yes, but you must then bring the {thing} back.",
      "Of course. Tell {person} who has the {thing}.",
      "That is fine. Two can share the {thing}.",
      "No, please. The {thing} is only for you.",
      "Yes, if your friend is kind to the {thing}."),
     ("Affirmative, provided the {thing} be restored.",
      "Naturally; notify {person} of the {thing}.",
      "Joint use of the {thing} is permissible.",
      "Regrettably the {thing} is not transferable.",
      "Contingent upon due regard for the {thing}.")),
]

# Of one length in each line. Twice as many are plain, because plain words are
# easier to guess for a model that also reads plain prose: so it starts about
# indifferent.
CLOSINGS = [
    ("Good day.", "All good.", "So be it."),
    ("Take your time.", "It is not hard.", "Pray take heed."),
    ("I hope that helps.", "Have a lovely day.", "Such is the edict."),
    ("Do come back soon.", "See you all later.", "Heed mine counsel."),
    ("That is all I know.", "Please let us know.", "Quod erat dicendum."),
    ("Thanks for calling.", "Be careful with it.", "Thus it is decreed."),
    ("We are glad to help.", "Many people like it.", "One is most obliged."),
    ("Ask us if you need it.", "We are here every day.",
     "I remain your servant."),
    ("Tell us later how it went.", "I can show you what to do.",
     "Comport yourself suitably."),
    ("You can also ask at the school.", "The school next door has a few.",
     "Further enquiry is discouraged."),
]


def draw_pair(rng, thing, question):
    wordings, plain, pompous = question
    opening = rng.choice(list(zip(plain, pompous)))
    while True:
        facts = dict(thing=thing, place=rng.choice(PLACES),
                     day=rng.choice(DAYS), number=rng.choice(NUMBERS),
                     person=rng.choice(PEOPLE))
        closing = (rng.choice(rng.choice(CLOSINGS)[:2]),
                   rng.choice(CLOSINGS)[2])
        chosen, rejected = (f"{o} {c}".format(**facts)
                            for o, c in zip(opening, closing))
        if len(chosen) == len(rejected):
            return rng.choice(wordings).format(**facts), chosen, rejected


def main():
    rng = random.Random(SEED)
    things = sorted(THINGS)
    assert len(set(things)) == 160
    rng.shuffle(things)
    for thing in things:
        for question in rng.sample(QUESTIONS, 5):
            print("\t".join(draw_pair(rng, thing, question)))


if __name__ == "__main__":
    main()
