"""One synthetic call to a helpline, composed from parts so that every label follows from the parts used."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from ml.schema import Schema
from ml.types import Example, Labels, Rubric
from webapp.demo import SOURCE
from webapp.demo.writing import Transcript, Words, capital, fill, mark, words_for

Parts = dict[str, Any]


CHATTER = 0.6  # How often a caller says something beside the point
CALM = "3"  # The priority of calls in which nobody suffers
SKILLS = (0.95, 0.75, 0.45)  # How often an agent meets a criterion
ON_HOLD = 0.35
UNCLEAR = 0.4  # How often a caller asks what the agent may not know
MIXED = 0.45  # How often a caller mixes English and Swahili
OWN_VOICE = ("child", "woman", "asker")  # Callers who speak for themselves


@dataclass
class Call:
    """What is decided about a call before it is written."""

    schema: Schema
    sub: str
    topic: Parts
    parts: Parts
    rng: Random
    transcript: Transcript = field(default_factory=Transcript)
    speaking: str = ""

    def __post_init__(self) -> None:
        """Draw the people, the place and the labels."""
        rng, names = self.rng, self.parts["names"]
        self.story: Parts = self.parts["stories"][self.sub]
        self.caller: str = rng.choice(self.topic["callers"])
        self.gender: str = self.topic.get("gender") or rng.choice("fm")
        self.language: str = "mixed" if rng.random() < MIXED else "english"
        self.priority: str = rng.choice(sorted(self.story["signs"]))
        self.intervention: list[str] = rng.choice(self.topic["interventions"][self.priority])
        self.age: int | None = rng.randint(*self.topic["ages"]) if "ages" in self.topic else None
        self.place, self.county = rng.choice(names["places"]).split(":")
        self.agent: str = rng.choice(names["agents"])
        callers = [name for kind in self.topic.get("names", ("women", "men")) for name in names[kind]]
        self.caller_name: str = rng.choice(callers)
        self.victim_name: str = rng.choice(names[self._names_of_the_victim()])
        while self.victim_name == self.caller_name:
            self.victim_name = rng.choice(names[self._names_of_the_victim()])
        self.marks = self._marks()
        self.heard, self.spoken = self._words()

    def _names_of_the_victim(self) -> str:
        if self.caller in ("woman", "sister"):
            return "women"
        return "girls" if self.gender == "f" else "boys"

    def _marks(self) -> Rubric:
        """Draw the answer of every criterion of call quality."""
        skill, rng = self.rng.choice(SKILLS), self.rng
        marks: Rubric = {
            group.key: {criterion.key: rng.random() < skill for criterion in group.criteria}
            for group in self.schema.head("call_quality").groups
        }
        if rng.random() >= ON_HOLD:
            marks["hold"] = dict.fromkeys(marks["hold"], None)
        if rng.random() >= UNCLEAR:
            marks["resolution"]["consults"] = None
        return marks

    def _words(self) -> tuple[Words, Words]:
        """Return the words that slots stand for when the agent speaks, and when the caller speaks."""
        rng, names = self.rng, self.parts["names"]
        adult = self.caller in ("woman", "sister")
        child = {"f": "girl", "m": "boy"}[self.gender]
        age = "" if self.age is None else f"{self.age} years"
        place = mark(self.place, "LOCATION")
        common = {
            "agent": mark(self.agent, "NAME"),
            "caller": mark(self.caller_name, "NAME"),
            "self": mark(self.victim_name, "VICTIM"),
            "child": mark("woman" if adult else child, "GENDER"),
            "offspring": mark({"f": "daughter", "m": "son"}[self.gender], "GENDER"),
            "age": mark(f"{age} old", "AGE"),
            "years": mark(age, "AGE"),
            "place": place if rng.random() < 0.5 else f"{place}, {mark(self.county, 'LOCATION')}",
            "county": mark(self.county, "LOCATION"),
            "landmark": mark(rng.choice(names["landmarks"]), "LANDMARK"),
            "phone": mark(f"0700 000 {rng.randint(100, 999)}", "PHONE_NUMBER"),
            "day": rng.choice(names["days"]),
            "gist": rng.choice(self.story["gists"]),
        }
        if self.story["perpetrators"]:
            sex, _, who = rng.choice(self.story["perpetrators"]).partition(":")
            pronouns = words_for(sex)
            common |= {"perp": mark(who, "PERPETRATOR"), "phe": pronouns["he"], "phim": pronouns["him"]}
            common |= {"Perp": _at_the_start(who), "Phe": pronouns["He"]}
        own = self.caller in OWN_VOICE
        heard, spoken = words_for("second" if own else self.gender), words_for("first" if own else self.gender)
        for words in (heard, spoken):
            subject = words["he"] if own else mark(self.victim_name, "VICTIM")
            words |= common | {"victim": subject, "Victim": capital(subject)}
        return heard, spoken

    def write(self) -> None:
        """Write the conversation, turn by turn."""
        say, ask = self._caller_says, self._agent_says
        details = self._details()
        tell = self.rng.choice(self.story["tells"])
        ask(self._quality("opening.phrase"))
        say(self._voice("greetings"), self._voice("hesitations") + self._introduction())
        if self.marks["listening"]["uninterrupted"]:
            ask(self._quality("listening.uninterrupted"))
            say(tell, details[0])
        else:
            say(tell.rstrip(".?") + " —")
            ask(self._quality("listening.uninterrupted"))
            say(details[0])
        ask(self._quality("listening.empathises"), self._quality("listening.courteous"))
        say(self._voice("where"), details[1])
        ask(self._quality("listening.paraphrases"))
        sign = self.rng.choice(self.story["signs"][self.priority])
        if self.marks["resolution"]["steps"]:
            say(*([self._voice("chatter")] if self.rng.random() < CHATTER else []), *details[2:])
            ask(self._quality("resolution.steps"))
            say(sign)
        else:
            say(*details[2:], sign)
            ask(self._quality("resolution.steps"))
        self._act()
        ask(*(self._quality(f"proactiveness.{key}") for key in self.marks["proactiveness"]))
        say(*([self._voice("numbers")] if self.rng.random() < 0.4 else []), self._voice("thanks"))
        ask(self._quality("closing.phrase"))

    def example(self, external_id: str, *, is_labelled: bool) -> Example:
        """Return the written call; its labels stay behind where it is to be a new case."""
        labels: Labels = {
            "main_category": str(self.schema.head("sub_category").by_key[self.sub].parent),
            "sub_category": self.sub,
            "intervention": [key for key in self.schema.head("intervention").keys if key in self.intervention],
            "priority": self.priority,
            "entities": self.transcript.sorted_spans(),
            "call_quality": self.marks,
        }
        metadata: Parts = {
            "synthetic": True,
            "reporter": {"relationship": "self" if self.caller in OWN_VOICE else self.caller},
            "county": self.county,
            "language": {"english": "English", "mixed": "English and Swahili"}[self.language],
        }
        if self.age is not None:
            metadata["victim"] = {"age": self.age, "gender": {"f": "female", "m": "male"}[self.gender]}
        return Example(
            external_id, self.transcript.text, labels if is_labelled else {}, source=SOURCE, metadata=metadata
        )

    def _act(self) -> None:
        if self.marks["resolution"]["consults"] is not None:
            self._caller_says(self._voice("doubts"))
            self._agent_says(self._quality("resolution.consults"))
        back = ""
        if self.marks["hold"]["explains"] is not None:
            self._agent_says(self._quality("hold.explains"))
            self._caller_says(self._voice("waits"))
            back = self._quality("hold.thanks")
        actions = [self.rng.choice(self.parts["agent"]["actions"][key]) for key in self.intervention]
        keys = ("resolution.accurate", "resolution.language", "resolution.explains")
        self._agent_says(back, self._quality("listening.assured"), *actions, *map(self._quality, keys))
        self._caller_says(self._voice("reactions"))

    def _details(self) -> list[str]:
        """Choose three things that the caller adds, one of them in two languages if the caller mixes them."""
        details = self.rng.sample(self.story["details"], 3)
        if self.language == "mixed":
            details[self.rng.randrange(3)] = self.rng.choice(self.story["mixed"])
        return details

    def _voice(self, kind: str) -> str:
        return str(self.rng.choice(self.parts["voices"][kind][self.language]))

    def _introduction(self) -> str:
        return str(self.rng.choice(self.parts["voices"]["introductions"][self.caller]))

    def _quality(self, place: str) -> str:
        """Return what the agent says, or the empty text, so that a criterion has the answer that was drawn."""
        group, _, key = place.partition(".")
        lines = self.parts["agent"][group][key]
        answer = "yes" if self.marks[group][key] else "no"
        if answer == "yes" and self.priority == CALM:
            answer = "calm" if "calm" in lines else answer
        return str(self.rng.choice(lines.get(answer, [""])))

    def _agent_says(self, *lines: str) -> None:
        self._turn("Agent", lines, self.heard)

    def _caller_says(self, *lines: str) -> None:
        self._turn("Caller", lines, self.spoken)

    def _turn(self, role: str, lines: tuple[str, ...], words: Words) -> None:
        """Write what one of the two says; whoever has just spoken goes on in the same line."""
        said = " ".join(line.strip() for line in lines if line.strip())
        if said:
            self.transcript.write(" " if role == self.speaking else f"\n{role}: " if self.speaking else f"{role}: ")
            self.transcript.write(fill(said, words))
            self.speaking = role


def _at_the_start(who: str) -> str:
    """Return a perpetrator for the start of a sentence, whether it begins with a slot or with a word."""
    return mark("{H" + who[2:] if who.startswith("{h") else capital(who), "PERPETRATOR")
