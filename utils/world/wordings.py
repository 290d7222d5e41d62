"""The wordings of every attribute: statements, whole questions, phrases for frames, held-out ones.

Templates: `{e}` stands for the entity and `{v}` for the value. The first statement is the form of
an answer. A trained question is a whole question or a phrase in a frame; a held-out one is a whole
sentence that no training text contains, made of words that do occur there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasing:
    """How one attribute is stated and asked for; each entry is a template."""

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    nouns: tuple[str, ...]
    clauses: tuple[str, ...]
    held_out: tuple[str, ...]


PHRASINGS = {
    "town": Phrasing(
        (
            "{e} lives in {v}.",
            "The home of {e} is in {v}.",
            "{e} has a house in {v}.",
            "{e} comes from the town of {v}.",
        ),
        (
            "Where does {e} live?",
            "In which town does {e} live?",
            "Which town is {e} from?",
            "Where is the home of {e}?",
            "Which town does {e} call home?",
            "What town is home to {e}?",
        ),
        ("the home town of {e}", "the town of {e}", "the place where {e} lives"),
        ("where {e} lives", "which town {e} lives in", "what town {e} comes from"),
        (
            "Where does {e} have a house?",
            "From which town does {e} come?",
            "Tell me in which town the house of {e} is.",
            "What is the name of the town that {e} lives in?",
        ),
    ),
    "trade": Phrasing(
        (
            "{e} works as a {v}.",
            "The trade of {e} is that of a {v}.",
            "{e} earns money as a {v}.",
            "{e} has the job of a {v}.",
        ),
        (
            "What is the job of {e}?",
            "What work does {e} do?",
            "How does {e} earn money?",
            "What does {e} do for a living?",
            "Which trade does {e} have?",
            "What does {e} work as?",
        ),
        ("the trade of {e}", "the work of {e}", "the job that {e} has"),
        ("what job {e} does", "how {e} makes a living", "what {e} works as"),
        (
            "Which job does {e} have?",
            "As what does {e} earn a living?",
            "Tell me how {e} earns money.",
            "What is the name of the trade that {e} works in?",
        ),
    ),
    "pet": Phrasing(
        (
            "{e} keeps a {v}.",
            "The pet of {e} is a {v}.",
            "At home {e} has a {v} as a pet.",
            "The animal in the house of {e} is a {v}.",
        ),
        (
            "What pet does {e} have?",
            "Which animal does {e} keep?",
            "Which pet does {e} own?",
            "Which pet lives with {e}?",
            "What animal lives in the house of {e}?",
            "What kind of pet does {e} keep?",
        ),
        ("the pet of {e}", "the animal of {e}", "the animal that {e} keeps"),
        ("which pet {e} has", "what animal {e} keeps", "what kind of animal lives with {e}"),
        (
            "Which animal does {e} have at home?",
            "What kind of animal is the pet of {e}?",
            "Tell me which animal lives with {e} at home.",
            "What is the name for the pet that lives with {e}?",
        ),
    ),
    "food": Phrasing(
        (
            "{e} likes to eat {v}.",
            "The favorite food of {e} is {v}.",
            "For dinner {e} wants {v}.",
            "No meal is better for {e} than {v}.",
        ),
        (
            "What does {e} like to eat?",
            "What would {e} like for dinner?",
            "Which food does {e} like?",
            "What does {e} want for dinner?",
            "What should I cook for {e}?",
            "Which meal does {e} like best?",
        ),
        ("the favorite food of {e}", "the food {e} likes best", "the dinner that {e} wants"),
        ("what {e} likes to eat", "which food {e} likes best", "what {e} wants to eat for dinner"),
        (
            "What food does {e} want to eat?",
            "Which dinner does {e} like best?",
            "Tell me what meal I should cook for {e}.",
            "What is the name of the meal that {e} likes?",
        ),
    ),
    "hobby": Phrasing(
        (
            "{e} enjoys {v}.",
            "The hobby of {e} is {v}.",
            "In the evening {e} spends hours on {v}.",
            "{e} is fond of {v} in free time.",
        ),
        (
            "What does {e} enjoy?",
            "What hobby does {e} enjoy most?",
            "Which hobby does {e} have?",
            "How does {e} spend the evening?",
            "What does {e} do in free time?",
            "What does {e} do for fun?",
        ),
        ("the hobby of {e}", "the hobby that {e} enjoys", "the evening hobby of {e}"),
        (
            "what {e} does for fun",
            "which hobby {e} enjoys",
            "how {e} spends free time",
        ),
        (
            "Which hobby is {e} fond of?",
            "Which hobby does {e} enjoy in the evening?",
            "Tell me how {e} spends hours in the evening.",
            "What is the name of the hobby that {e} has?",
        ),
    ),
    "condition": Phrasing(
        (
            "{e} is used to treat {v}.",
            "Doctors give {e} to patients with {v}.",
            "For {v} the clinic uses {e}.",
            "{e} helps against {v}.",
        ),
        (
            "What does {e} treat?",
            "Which condition is {e} used for?",
            "What is {e} used to treat?",
            "Why do doctors give {e}?",
            "What does {e} help against?",
            "Which patients need {e}?",
        ),
        ("the use of {e}", "the condition treated with {e}", "the condition that {e} treats"),
        ("what {e} treats", "which condition {e} helps against", "what {e} is used for"),
        (
            "Which condition does {e} treat?",
            "For what condition do doctors give {e}?",
            "Tell me which patients are treated with {e}.",
            "What is the name of the condition that {e} helps against?",
        ),
    ),
    "dose": Phrasing(
        (
            "The daily dose of {e} is {v}.",
            "Adults take {v} of {e} per day.",
            "{e} is given at {v} each day.",
            "Each day a patient gets {v} of {e}.",
        ),
        (
            "What is the daily dose of {e}?",
            "How much {e} should an adult take?",
            "What is the amount of {e} for a day?",
            "How much {e} is given each day?",
            "How many mg of {e} are taken per day?",
            "What dose of {e} does a patient get?",
        ),
        ("the dose of {e}", "the daily amount of {e}", "the right dose of {e}"),
        (
            "how much {e} to take",
            "how many mg of {e} a patient gets",
            "what dose of {e} is right",
        ),
        (
            "How many mg of {e} does an adult take?",
            "What amount of {e} is given per day?",
            "Tell me how much {e} a patient should get each day.",
            "What is the daily amount in mg of {e}?",
        ),
    ),
    "route": Phrasing(
        (
            "{e} is given as a {v}.",
            "{e} comes in the form of a {v}.",
            "The form of {e} is a {v}.",
            "The clinic makes {e} as a {v}.",
        ),
        (
            "How is {e} given?",
            "In what form does {e} come?",
            "What does {e} come as?",
            "Which form does {e} have?",
            "How is {e} made?",
            "As what is {e} given?",
        ),
        ("the form of {e}", "the form in which {e} comes", "the form that {e} is made in"),
        ("how {e} is given", "in what form {e} is given", "which form {e} comes in"),
        (
            "In which form is {e} made?",
            "In what form do patients get {e}?",
            "Tell me as what the clinic makes {e}.",
            "What is the name of the form of {e}?",
        ),
    ),
    "clash": Phrasing(
        (
            "{e} must not be taken with {v}.",
            "Never combine {e} with {v}.",
            "Patients on {e} should avoid {v}.",
            "{e} and {v} must not be mixed.",
        ),
        (
            "What must not be taken with {e}?",
            "What should patients on {e} avoid?",
            "What must {e} not be combined with?",
            "What should never be mixed with {e}?",
            "What clashes with {e}?",
            "Which drink or food is not safe with {e}?",
        ),
        (
            "the thing to avoid with {e}",
            "the thing that clashes with {e}",
            "one thing that is not safe with {e}",
        ),
        ("what clashes with {e}", "what to avoid with {e}", "what {e} must not be mixed with"),
        (
            "What should not be combined with {e}?",
            "Which food or drink clashes with {e}?",
            "Tell me what patients must never take with {e}.",
            "What is the name of the thing that must not be mixed with {e}?",
        ),
    ),
    "effect": Phrasing(
        (
            "{e} can cause {v}.",
            "A side effect of {e} is {v}.",
            "Patients on {e} may get {v}.",
            "Some people have {v} after they take {e}.",
        ),
        (
            "What can {e} cause?",
            "What side effect does {e} have?",
            "What is a side effect of {e}?",
            "What may patients on {e} get?",
            "Which side effect comes with {e}?",
            "What may happen after a patient takes {e}?",
        ),
        ("the side effect of {e}", "the known effect of {e}", "a side effect caused by {e}"),
        ("what {e} can cause", "which side effect {e} has", "what may happen with {e}"),
        (
            "Which side effect can {e} cause?",
            "What effect may people have after they take {e}?",
            "Tell me what side effect patients on {e} get.",
            "What is the name of the side effect that comes with {e}?",
        ),
    ),
    "opening": Phrasing(
        (
            "{e} opens at {v}.",
            "The doors of {e} open at {v}.",
            "Nobody may enter {e} before {v}.",
            "{e} is open from {v} on.",
        ),
        (
            "When does {e} open?",
            "At what time does {e} open?",
            "What time does {e} open?",
            "From what time is {e} open?",
            "When do the doors of {e} open?",
            "How early does {e} open?",
        ),
        ("the opening time of {e}", "the hour when {e} opens", "the time when {e} opens"),
        ("when {e} opens", "at what time {e} opens", "from when {e} is open"),
        (
            "At what hour does {e} open?",
            "From when may people enter {e}?",
            "Tell me at what time the doors of {e} open.",
            "What is the time from which {e} is open?",
        ),
    ),
    "clothing": Phrasing(
        (
            "Everyone in {e} must wear {v}.",
            "In {e} people wear {v}.",
            "Put on {v} before you enter {e}.",
            "The rule of {e} asks for {v}.",
        ),
        (
            "What must everyone wear in {e}?",
            "What do people wear in {e}?",
            "What should I put on before I enter {e}?",
            "What must be worn in {e}?",
            "What clothing does {e} ask for?",
            "Which clothing is needed in {e}?",
        ),
        ("the clothing needed in {e}", "the clothing rule of {e}", "the clothing worn in {e}"),
        ("what to wear in {e}", "what people wear in {e}", "which clothing {e} asks for"),
        (
            "Which clothing must everyone wear in {e}?",
            "What should people put on in {e}?",
            "Tell me what I must wear before I enter {e}.",
            "What clothing is worn in {e}?",
        ),
    ),
    "limit": Phrasing(
        (
            "At most {v} may enter {e}.",
            "{e} has room for {v}.",
            "No more than {v} are let into {e}.",
            "The limit for {e} is {v}.",
        ),
        (
            "How many visitors may enter {e}?",
            "How many visitors are let into {e}?",
            "How high is the limit for {e}?",
            "For how many visitors does {e} have room?",
            "How many visitors at most are in {e}?",
            "What is the highest number of visitors in {e}?",
        ),
        ("the limit for {e}", "the number of visitors let into {e}", "the visitor limit of {e}"),
        (
            "how many visitors may enter {e}",
            "how many visitors {e} has room for",
            "what limit {e} has",
        ),
        (
            "What is the limit on visitors in {e}?",
            "How many visitors at most does {e} have room for?",
            "Tell me how many visitors there is room for in {e}.",
            "What number of visitors may enter {e}?",
        ),
    ),
    "firm": Phrasing(
        (
            "{e} is with {v}.",
            "The clinic signed {e} with {v}.",
            "{v} is the other party to {e}.",
            "Under {e} the work is done by {v}.",
        ),
        (
            "Who is {e} with?",
            "With which firm did the clinic sign {e}?",
            "Who is the other party to {e}?",
            "Which firm does the work under {e}?",
            "Who signed {e} with the clinic?",
            "Which firm is bound by {e}?",
        ),
        ("the firm in {e}", "the other party to {e}", "the firm that signed {e}"),
        ("who signed {e}", "which firm {e} is with", "who does the work under {e}"),
        (
            "Which firm signed {e}?",
            "Which firm is the other party to {e}?",
            "Tell me with which firm the clinic signed {e}.",
            "What is the name of the firm that is bound by {e}?",
        ),
    ),
    "service": Phrasing(
        (
            "{e} covers {v}.",
            "The service under {e} is {v}.",
            "{e} was signed for {v}.",
            "Under {e} the firm provides {v}.",
        ),
        (
            "What does {e} cover?",
            "What is the service under {e}?",
            "Which service does {e} cover?",
            "What was {e} signed for?",
            "What does the firm provide under {e}?",
            "What is {e} about?",
        ),
        ("the service in {e}", "the service that {e} covers", "the subject of {e}"),
        ("what {e} covers", "what service {e} is about", "what the firm provides under {e}"),
        (
            "For which service was {e} signed?",
            "Which service does the firm provide under {e}?",
            "Tell me what the subject of {e} is.",
            "What is the name of the service that {e} is about?",
        ),
    ),
    "fee": Phrasing(
        (
            "The monthly fee under {e} is {v}.",
            "{e} costs {v} a month.",
            "Each month the clinic pays {v} for {e}.",
            "The price of {e} is {v} per month.",
        ),
        (
            "What is the monthly fee under {e}?",
            "How much does {e} cost?",
            "What does {e} cost a month?",
            "How much does the clinic pay for {e}?",
            "How many crowns does {e} cost?",
            "What must the clinic pay for {e}?",
        ),
        ("the fee under {e}", "the price of {e}", "the monthly cost of {e}"),
        (
            "how much {e} costs",
            "what the clinic pays for {e}",
            "how many crowns are paid for {e}",
        ),
        (
            "What fee does the clinic pay for {e}?",
            "How many crowns does the clinic pay each month for {e}?",
            "Tell me what {e} costs per month.",
            "What is the cost of {e} in crowns?",
        ),
    ),
    "notice": Phrasing(
        (
            "The notice period of {e} is {v}.",
            "{e} can be ended with {v} of notice.",
            "To end {e} a party must give {v} of notice.",
            "Either party may end {e} after {v} of notice.",
        ),
        (
            "What notice does {e} ask for?",
            "How much notice does {e} need?",
            "How many days of notice does {e} need?",
            "How long is the notice period of {e}?",
            "With how much notice can {e} be ended?",
            "How much notice must a party give to end {e}?",
        ),
        ("the notice period of {e}", "the notice needed to end {e}", "the notice under {e}"),
        (
            "how long the notice period of {e} is",
            "how many days of notice end {e}",
            "how much notice ends {e}",
        ),
        (
            "After how many days of notice may {e} be ended?",
            "How many days of notice must either party give to end {e}?",
            "Tell me how long the notice under {e} is.",
            "What period of notice does {e} need?",
        ),
    ),
}
