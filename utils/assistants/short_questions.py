"""A hundred short questions whose answers can be checked by a word, for models of the real world.

Sixty to learn from and forty to measure with; no question stands in both.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class ShortQuestion(NamedTuple):
    """A question and the words of which one has to stand in a right answer."""

    text: str
    accepted: tuple[str, ...]


def is_right(question: ShortQuestion, answer: str) -> bool:
    """Return whether an answer holds an accepted word, whole and whatever its capitals.

    >>> is_right(TRAINING[0], "The capital of France is Paris."), is_right(TRAINING[0], "Parish")
    (True, False)
    """
    return any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE)
        for word in question.accepted
    )


def table(lines: str) -> tuple[ShortQuestion, ...]:
    """Return questions from lines of "question | accepted | accepted ..."."""
    rows = [[part.strip() for part in line.split("|")] for line in lines.strip().splitlines()]
    return tuple(ShortQuestion(text, tuple(accepted)) for text, *accepted in rows)


TRAINING = table("""
What is the capital of France? | Paris
What is the capital of Italy? | Rome
What is the capital of Spain? | Madrid
What is the capital of Japan? | Tokyo
What is the capital of Egypt? | Cairo
What is the capital of Greece? | Athens
What is the capital of Russia? | Moscow
What is the capital of China? | Beijing
What is the capital of Germany? | Berlin
What is the capital of Portugal? | Lisbon
What is the capital of Austria? | Vienna
What is the capital of Ireland? | Dublin
How many days are in a week? | 7 | seven
How many months are in a year? | 12 | twelve
How many hours are in a day? | 24 | twenty-four
How many minutes are in an hour? | 60 | sixty
How many legs does a spider have? | 8 | eight
How many sides does a triangle have? | 3 | three
How many wheels does a bicycle have? | 2 | two
How many letters are in the English alphabet? | 26 | twenty-six
What is 2 plus 3? | 5 | five
What is 10 minus 4? | 6 | six
What is 3 times 3? | 9 | nine
What is 20 divided by 2? | 10 | ten
What is the opposite of hot? | cold
What is the opposite of up? | down
What is the opposite of big? | small | little
What is the opposite of day? | night
What is the opposite of left? | right
What is the opposite of fast? | slow
Which planet do we live on? | Earth
Which planet is the largest in our solar system? | Jupiter
Which planet is known as the red planet? | Mars
Which star is at the centre of our solar system? | Sun
What is the chemical symbol of water? | H2O
What is the chemical symbol of gold? | Au
Which gas do plants take in from the air? | carbon dioxide | CO2
Which gas do people need to breathe? | oxygen
What do bees make? | honey
What do cows give us to drink? | milk
Which animal barks? | dog
Which animal says meow? | cat
Which bird can't fly and lives in Antarctica? | penguin
Which animal has a long trunk? | elephant
Which animal has black and white stripes? | zebra
Which is the largest ocean on Earth? | Pacific
Which is the tallest mountain on Earth? | Everest
In which continent is Egypt? | Africa
In which continent is India? | Asia
In which country is the Eiffel Tower? | France
In which city is Big Ben? | London
Who wrote Romeo and Juliet? | Shakespeare
Who painted the Mona Lisa? | Leonardo | Vinci
What colour is grass? | green
What colour is the sky on a clear day? | blue
What colour is snow? | white
What colour do you get from blue and yellow? | green
At what temperature in degrees Celsius does water boil? | 100 | hundred
At what temperature in degrees Celsius does water freeze? | 0 | zero
What is frozen water called? | ice
""")

TEST = table("""
What is the capital of England? | London
What is the capital of Norway? | Oslo
What is the capital of Poland? | Warsaw
What is the capital of Hungary? | Budapest
What is the capital of Turkey? | Ankara
What is the capital of Canada? | Ottawa
What is the capital of Cuba? | Havana
What is the capital of Sweden? | Stockholm
How many days are in a leap year? | 366
How many seconds are in a minute? | 60 | sixty
How many legs does a dog have? | 4 | four
How many legs does an insect have? | 6 | six
How many sides does a square have? | 4 | four
How many continents are there? | 7 | seven
What is 4 plus 4? | 8 | eight
What is 9 minus 2? | 7 | seven
What is 5 times 2? | 10 | ten
What is the opposite of black? | white
What is the opposite of old? | new | young
What is the opposite of open? | closed | shut | close
What is the opposite of happy? | sad | unhappy
What is the opposite of rich? | poor
Which planet is closest to the Sun? | Mercury
Which planet has large rings? | Saturn
What is the chemical symbol of oxygen? | O | O2
What is the chemical symbol of iron? | Fe
Which animal is called the king of the jungle? | lion
Which animal has a very long neck? | giraffe
Which animal do we get wool from? | sheep
What is a baby dog called? | puppy
What is a baby cat called? | kitten
Which is the longest river in Africa? | Nile
In which continent is Brazil? | South America
In which country is the Great Wall? | China
In which city is the Statue of Liberty? | New York
Who wrote Hamlet? | Shakespeare
What colour is a ripe banana? | yellow
What colour is coal? | black
What colour do you get from red and yellow? | orange
What do we call the season after winter? | spring
""")
