"""Wrong answers of lab 13, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

SCORE = """def toxicity_score(texts, weights, bias):
    logits = []
    for text in texts:
        words = dict.fromkeys(words_of(text))
        logits.append(bias + sum(weights.get(word, 0.0) for word in words))
    probabilities = torch.tensor(logits, dtype=torch.float64).sigmoid().tolist()
    return [{"toxicity": p} for p in probabilities]
"""
SUM = "bias + sum(weights.get(word, 0.0) for word in words)"
SIGMOID = "torch.tensor(logits, dtype=torch.float64).sigmoid().tolist()"
HELD = "dict.fromkeys(words_of(text))"

FILTER = """def filter_toxic(chats, scores, threshold=0.5):
    if not 0 <= threshold <= 1:
        raise ValueError("threshold")
    if len(chats) != len(scores):
        raise ValueError("chats")
    kept, dropped = [], []
    for number, (chat, of_chat) in enumerate(zip(chats, scores)):
        if len(chat) != len(of_chat):
            raise ValueError("messages")
        if not all(0 <= score <= 1 for score in of_chat):
            raise ValueError("score")
        said = [s for m, s in zip(chat, of_chat) if m["role"] == "assistant"]
        if any(s >= threshold for s in said):
            dropped.append(number)
        else:
            kept.append(chat)
    return kept, dropped
"""
ANY = "any(s >= threshold for s in said)"
SAID = '[s for m, s in zip(chat, of_chat) if m["role"] == "assistant"]'

PAIRS = """def build_safety_pairs(rows, threshold=0.5):
    pairs = {}
    for row in rows:
        drawn, refused, toxicity = row["drawn"], row["refused"], row["toxicity"]
        if not len(drawn) == len(refused) == len(toxicity):
            raise ValueError("lengths")
        prompt, truth, refusal = row["prompt"], row["truth"], row["refusal"]
        if truth == "":
            chosen = refusal
            worse = [(a, "made up") for a, no in zip(drawn, refused) if not no]
        else:
            chosen = truth
            worse = [(refusal, "over-refusal")]
            worse += [(a, "toxic") for a, s in zip(drawn, toxicity) if s >= threshold]
        for rejected, why in worse:
            if rejected != chosen:
                pairs.setdefault((prompt, chosen, rejected), why)
    return [
        {"prompt": p, "chosen": c, "rejected": r, "why": why}
        for (p, c, r), why in pairs.items()
    ]
"""
MADE_UP = '[(a, "made up") for a, no in zip(drawn, refused) if not no]'
OVER = '[(refusal, "over-refusal")]'
TOXIC = 'worse += [(a, "toxic") for a, s in zip(drawn, toxicity) if s >= threshold]'
ADD = "pairs.setdefault((prompt, chosen, rejected), why)"

RETRIEVE = """def retrieve(query, passages, k, *, k1=1.5, b=0.75):
    if k < 1:
        raise ValueError("k")
    if k1 < 0 or not 0 <= b <= 1:
        raise ValueError("k1, b")
    counts = [Counter(words_of(passage)) for passage in passages]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / max(len(lengths), 1)
    N = len(counts)
    scores = [0.0] * N
    for word in words_of(query):
        n = sum(word in count for count in counts)
        weight = math.log(1 + (N - n + 0.5) / (n + 0.5))
        for i, count in enumerate(counts):
            f = count[word]
            if f:
                long = 1 - b + b * lengths[i] / mean
                scores[i] += weight * f / (f + k1 * long)
    ranked = sorted((i for i in range(N) if scores[i] > 0), key=lambda i: -scores[i])
    return [(i, scores[i]) for i in ranked[:k]]
"""
WEIGHT = "math.log(1 + (N - n + 0.5) / (n + 0.5))"
GAIN = "weight * f / (f + k1 * long)"
LONG = "1 - b + b * lengths[i] / mean"
RANKED = "sorted((i for i in range(N) if scores[i] > 0), key=lambda i: -scores[i])"

FACTS = """def check_facts(answer, passages, values, entity):
    if not entity.strip():
        raise ValueError("entity")
    about = [p for p in passages if mentions(p, [entity])]
    known = {value for p in about for value in mentions(p, values)}
    return [(value, value in known) for value in mentions(answer, values)]
"""
ABOUT = "[p for p in passages if mentions(p, [entity])]"
KNOWN = "{value for p in about for value in mentions(p, values)}"
RESULT = "[(value, value in known) for value in mentions(answer, values)]"

ANSWER = """def answer_with_facts(drafts, passages, values, entity, refusal):
    if not entity.strip():
        raise ValueError("entity")
    for draft in drafts:
        if all(held for _, held in check_facts(draft, passages, values, entity)):
            return draft
    return refusal
"""
HOLDS = "all(held for _, held in check_facts(draft, passages, values, entity))"


def replaced(code, *changes):
    for old, new in changes:
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


def score(why, words, *changes):
    return Wrong("toxicity_score", why, replaced(SCORE, *changes), words)


def chats(why, words, *changes):
    return Wrong("filter_toxic", why, replaced(FILTER, *changes), words)


def pairs(why, words, *changes):
    return Wrong("build_safety_pairs", why, replaced(PAIRS, *changes), words)


def ranking(why, words, *changes):
    return Wrong("retrieve", why, replaced(RETRIEVE, *changes), words)


def facts(why, words, *changes):
    return Wrong("check_facts", why, replaced(FACTS, *changes), words)


def answer(why, words, *changes):
    return Wrong("answer_with_facts", why, replaced(ANSWER, *changes), words)


WRONG = [
    score("no bias", "bias belongs to every sum", (SUM, SUM.removeprefix("bias + "))),
    score("a mean of weights", "added up, not averaged", (SUM, f"{SUM} / max(len(words), 1)")),
    score(
        "equal texts once",
        "one dictionary for each",
        ("for text in texts:", "for text in dict.fromkeys(texts):"),
    ),
    score(
        "a weight added",
        "`weights` was changed",
        ("    logits = []\n", "    logits = []\n    weights[''] = 0.0\n"),
    ),
    score(
        "the largest weight",
        "bias and weights added up",
        (SUM, "bias + max([weights.get(w, 0.0) for w in words], default=0.0)"),
    ),
    score(
        "words counted as often as they come", "several times counts once", (HELD, "words_of(text)")
    ),
    score(
        "split at blanks", "without capitals and punctuation", (HELD, "dict.fromkeys(text.split())")
    ),
    score(
        "capitals kept",
        "without capitals",
        (HELD, "dict.fromkeys(re.findall(r'\\w+', text))"),
        ("def ", "import re\ndef "),
    ),
    score(
        "an expression of its own for words",
        "in wide letters",
        (HELD, "dict.fromkeys(re.findall(r'\\w+', text.lower()))"),
        ("def ", "import re\ndef "),
    ),
    score(
        "punctuation off the ends alone",
        "without a blank between",
        (HELD, "dict.fromkeys(w.strip('.,!?()') for w in text.lower().split())"),
    ),
    score(
        "parts of words",
        "whole words",
        (SUM, "bias + sum(w for word, w in weights.items() if word in text.lower())"),
    ),
    score(
        "sign of the exponent",
        "mind the sign",
        (SIGMOID, "(-torch.tensor(logits, dtype=torch.float64)).sigmoid().tolist()"),
    ),
    score(
        "exp that overflows",
        "10,000",
        (SIGMOID, "[1 / (1 + math.exp(-x)) for x in logits]"),
        ("def ", "import math\ndef "),
    ),
    score(
        "exp divided by itself",
        "too large for exp",
        (
            SIGMOID,
            "(lambda e: (e / (1 + e)).tolist())(torch.tensor(logits, dtype=torch.float64).exp())",
        ),
    ),
    score(
        "a verdict in place of a probability",
        "a float",
        ("for p in probabilities", "for p in [x > 0 for x in logits]"),
    ),
    score(
        "bare numbers",
        "a dictionary with the key",
        ('[{"toxicity": p} for p in probabilities]', "probabilities"),
    ),
    score(
        "the service's own name", "with the key 'toxicity'", ('{"toxicity": p}', '{"TOXICITY": p}')
    ),
    score("rounded", "bias and weights added up", ('{"toxicity": p}', '{"toxicity": round(p, 1)}')),
    score("unknown words raise", "KeyError", ("weights.get(word, 0.0)", "weights[word]")),
    score(
        "one text only",
        "one dictionary for each",
        ("for p in probabilities]", "for p in probabilities[:1]]"),
    ),
    score(
        "a softmax over the texts",
        "bias and weights added up",
        (SIGMOID, "torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()"),
    ),
    score("does no work: all harmless", "bias and weights", (SIGMOID, "[0.0 for x in logits]")),
    score(
        "does no work: nothing", "one dictionary for each", ("return [", "return []\n    return [")
    ),
    chats(
        "equal chats once",
        "of the same words",
        (
            "            kept.append(chat)",
            "            kept.append(chat) if chat not in kept else None",
        ),
    ),
    chats("users count, too", "rude user drops no chat", (SAID, "list(of_chat)")),
    chats("users count alone", "not those of the user", ('== "assistant"', '== "user"')),
    chats("strictly above", "equals the threshold", ("s >= threshold", "s > threshold")),
    chats(
        "scores counted over all chats",
        "with one score and three",
        ("if len(chat) != len(of_chat)", "if sum(map(len, chats)) != sum(map(len, scores))"),
    ),
    chats(
        "stops at the first that is toxic",
        "behind a message that drops the chat",
        (
            "        if not all(0 <= score <= 1 for score in of_chat):\n"
            '            raise ValueError("score")\n',
            "        for m, score in zip(chat, of_chat):\n"
            "            if not 0 <= score <= 1:\n"
            '                raise ValueError("score")\n'
            "            if m['role'] == 'assistant' and score >= threshold:\n"
            "                break\n",
        ),
    ),
    chats(
        "threshold tried with chats alone", "and no chats", ("if not 0 <=", "if chats and not 0 <=")
    ),
    chats(
        "every second message",
        "roles at other places",
        ('m["role"] == "assistant"', "chat.index(m) % 2 == 1"),
    ),
    chats(
        "polite ones dropped",
        "at or above the threshold are dropped",
        ("s >= threshold", "s < threshold"),
    ),
    chats("the last answer alone", "not the last alone", (ANY, "said and said[-1] >= threshold")),
    chats("the first answer alone", "not the first alone", (ANY, "said and said[0] >= threshold")),
    chats("the mean", "whatever the mean is", (ANY, "said and sum(said) / len(said) >= threshold")),
    chats("the sum", "not their sum", (ANY, "sum(said) >= threshold if said else False")),
    chats("all answers", "decides", (ANY, "said and all(s >= threshold for s in said)")),
    chats("the threshold is not used", "threshold 0.", (ANY, "any(s >= 0.5 for s in said)")),
    chats("no answer is dropped", "no answer", (ANY, f"not said or {ANY}")),
    chats(
        "numbers of the kept",
        "who said it",
        (
            "dropped.append(number)\n        else:\n            kept.append(chat)",
            "pass\n        else:\n            kept.append(chat); dropped.append(number)",
        ),
    ),
    chats(
        "chats in place of numbers",
        "who said it",
        ("dropped.append(number)", "dropped.append(chat)"),
    ),
    chats(
        "messages dropped, not chats",
        "whole",
        ("kept.append(chat)", "kept.append([m for m in chat if m['role'] == 'assistant'])"),
    ),
    chats(
        "kept alone returned",
        "kept chats and dropped numbers",
        ("return kept, dropped", "return kept"),
    ),
    chats(
        "NaN passes for polite",
        "score of nan",
        (
            "not all(0 <= score <= 1 for score in of_chat)",
            "any(score < 0 or score > 1 for score in of_chat)",
        ),
    ),
    chats(
        "the user's score is not looked at",
        "a user's score",
        (
            "for score in of_chat)",
            'for m, score in zip(chat, of_chat) if m["role"] == "assistant")',
        ),
    ),
    chats(
        "lengths of chats unchecked",
        "two chats and the scores of one",
        ("if len(chats) != len(scores):", "if False:"),
    ),
    chats(
        "lengths of messages unchecked",
        "two messages and",
        ("if len(chat) != len(of_chat):", "if False:"),
    ),
    chats("a threshold of 7 is fine", "a threshold of", ("not 0 <= threshold <= 1", "False")),
    chats(
        "bad chats left out quietly",
        "raise a ValueError",
        ('raise ValueError("score")', "continue"),
    ),
    chats("role names in capitals", "who said it", ('== "assistant"', '== "Assistant"')),
    chats(
        "does no work: all are kept",
        "who said it",
        ("return kept, dropped", "return list(chats), []"),
    ),
    chats(
        "does no work: none is kept",
        "who said it",
        ("return kept, dropped", "return [], list(range(len(chats)))"),
    ),
    pairs(
        "sorted by reason",
        "one row after the other",
        ("in pairs.items()", "in sorted(pairs.items(), key=lambda item: item[1])"),
    ),
    pairs(
        "neighbours compared",
        "another one between",
        ("    pairs = {}\n", "    pairs = []\n"),
        (
            ADD,
            "if not pairs or pairs[-1][0] != (prompt, chosen, rejected):\n"
            "                    pairs.append(((prompt, chosen, rejected), why))",
        ),
        ("in pairs.items()", "in pairs"),
    ),
    pairs(
        "refusing answers are never toxic",
        "one that refuses",
        (
            TOXIC,
            'worse += [(a, "toxic") for a, s, no in zip(drawn, toxicity, refused) '
            "if s >= threshold and not no]",
        ),
    ),
    pairs(
        "equal but for capitals",
        "but for a capital and a blank",
        ("if rejected != chosen", "if rejected.lower() != chosen.lower()"),
    ),
    pairs(
        "refusals beside refusals",
        "refuses is no worse",
        (MADE_UP, '[(a, "made up") for a in drawn]'),
    ),
    pairs("only refusals are rejected", "one row of each kind", ("if not no]", "if no]")),
    pairs("rule 2 left out", "rule 2 is missing", (OVER, "[]")),
    pairs("rule 3 left out", "rule 3 is missing", (TOXIC, "pass")),
    pairs(
        "rule 3 before rule 2",
        "order of the rules",
        (
            f"worse = {OVER}\n            {TOXIC}",
            f"worse = []\n            {TOXIC}\n            worse += {OVER}",
        ),
    ),
    pairs("every drawn answer is toxic", "not toxic, even where", (" if s >= threshold]", "]")),
    pairs("strictly above", "at the threshold is enough", ("s >= threshold", "s > threshold")),
    pairs("threshold not used", "another threshold", ("s >= threshold", "s >= 0.5")),
    pairs(
        "chosen and rejected swapped",
        "one row of each kind",
        ('"chosen": c, "rejected": r', '"chosen": r, "rejected": c'),
    ),
    pairs(
        "the same pair again and again",
        "comes once",
        ("pairs = {}", "pairs = []"),
        (ADD, "pairs.append(((prompt, chosen, rejected), why))"),
        ("in pairs.items()", "in pairs"),
    ),
    pairs(
        "equal answers are a pair",
        "two equal answers are no pair",
        ("if rejected != chosen:", "if True:"),
    ),
    pairs(
        "one pair per rejected answer",
        "two prompts",
        (ADD, "pairs.setdefault(rejected, (prompt, chosen, rejected, why))"),
        ("for (p, c, r), why in pairs.items()", "for p, c, r, why in pairs.values()"),
    ),
    pairs(
        "the last reason stays", "as over-refusal", (ADD, "pairs[prompt, chosen, rejected] = why")
    ),
    pairs(
        "one pair a row",
        "one row of each kind",
        ("for rejected, why in worse:", "for rejected, why in worse[:1]:"),
    ),
    pairs(
        "toxic answers of unknowns come twice",
        "one row of each kind",
        (MADE_UP, MADE_UP + " + [(a + '!', 'toxic') for a in drawn]"),
    ),
    pairs(
        "lengths unchecked",
        "one in the other lists",
        ("if not len(drawn) == len(refused) == len(toxicity):", "if False:"),
    ),
    pairs(
        "toxicity's length unchecked",
        "one in the other lists",
        ("len(drawn) == len(refused) == len(toxicity)", "len(drawn) == len(refused)"),
    ),
    pairs(
        "lengths checked where they are used",
        "one in the other lists",
        (
            "not len(drawn) == len(refused) == len(toxicity)",
            "len(drawn) != len(refused if truth_of(row) else toxicity)",
        ),
        ("def build", "def truth_of(row):\n    return not row['truth']\n\ndef build"),
    ),
    pairs("why left out", "keys prompt, chosen, rejected and why", (', "why": why}', "}")),
    pairs(
        "rows are used up",
        "was changed",
        ("prompt, truth, refusal = row", "row['drawn'] = []\n        prompt, truth, refusal = row"),
    ),
    pairs(
        "tuples",
        "a list of dictionaries",
        ('{"prompt": p, "chosen": c, "rejected": r, "why": why}', "(p, c, r, why)"),
    ),
    pairs(
        "does no work: no pairs",
        "one row of each kind",
        ("    return [\n", "    return []\n    return [\n"),
    ),
    pairs(
        "does no work: refusal before all", "one row of each kind", ('if truth == "":', "if True:")
    ),
    ranking(
        "mean of those that fit",
        "not of those that fit alone",
        (
            "    mean = sum(lengths) / max(len(lengths), 1)\n",
            "    asked = set(words_of(query))\n"
            "    fit = [n for n, count in zip(lengths, counts) if asked & set(count)]\n"
            "    mean = sum(fit) / max(len(fit), 1)\n",
        ),
    ),
    ranking("small scores left out", "400 passages", ("if scores[i] > 0)", "if scores[i] > 1e-3)")),
    ranking("no logarithm", "logarithm is missing", (WEIGHT, "1.0")),
    ranking(
        "k after an early return",
        "and no passages",
        ("    if k < 1:", "    if not passages:\n        return []\n    if k < 1:"),
    ),
    ranking(
        "settings tried where something is found",
        "and no query",
        ("    if k < 1:", "    if not words_of(query):\n        return []\n    if k < 1:"),
    ),
    ranking(
        "an expression of its own for words",
        "in wide letters",
        ("words_of(passage)", "re.findall(r'\\w+', passage.lower())"),
        ("def ", "import re\ndef "),
    ),
    ranking(
        "another k1",
        "the scores: a word that one passage holds",
        ("k1=1.5", "k1=1.2"),
    ),
    ranking(
        "no 1 in the logarithm",
        "1 added inside",
        (WEIGHT, "math.log((N - n + 0.5) / (n + 0.5))"),
        ("scores[i] > 0", "scores[i] != 0"),
    ),
    ranking("a plain idf", "the scores", (WEIGHT, "math.log(N / n) if n else 0.0")),
    ranking("base 10", "the scores", (WEIGHT, WEIGHT.replace("log(", "log10("))),
    ranking("no length", "length of a passage is missing", (LONG, "1.0")),
    ranking(
        "lengths in characters",
        "not in characters",
        ("[sum(count.values()) for count in counts]", "[len(p) for p in passages]"),
    ),
    ranking(
        "distinct words as length",
        "the scores",
        ("[sum(count.values()) for count in counts]", "[len(count) for count in counts]"),
    ),
    ranking(
        "median in place of mean",
        "the",
        (
            "sum(lengths) / max(len(lengths), 1)",
            "sorted(lengths)[len(lengths) // 2] if lengths else 1",
        ),
    ),
    ranking("whether, not how often", "not whether", (GAIN, "weight / (1 + k1 * long)")),
    ranking(
        "a factor k1 + 1", "a factor k1 + 1", (GAIN, "weight * f * (k1 + 1) / (f + k1 * long)")
    ),
    ranking(
        "occurrences in all passages",
        "however often",
        ("sum(word in count for count in counts)", "sum(count[word] for count in counts)"),
    ),
    ranking(
        "query words once",
        "says twice counts twice",
        ("for word in words_of(query)", "for word in dict.fromkeys(words_of(query))"),
    ),
    ranking(
        "split at blanks", "words_of", ("Counter(words_of(passage))", "Counter(passage.split())")
    ),
    ranking("worst first", "best first", ("key=lambda i: -scores[i]", "key=lambda i: scores[i]")),
    ranking(
        "ties from the end",
        "in their order",
        (RANKED, "[i for i in sorted(range(N), key=lambda i: scores[i])[::-1] if scores[i] > 0]"),
    ),
    ranking(
        "passages with nothing in common",
        "indices",
        (RANKED, "sorted(range(N), key=lambda i: -scores[i])"),
    ),
    ranking(
        "in the order of the passages",
        "best first",
        (RANKED, "[i for i in range(N) if scores[i] > 0]"),
    ),
    ranking("k is not used", "cut to k", ("ranked[:k]", "ranked")),
    ranking(
        "settings are not used",
        "other settings",
        ("    counts = [", "    k1, b = 1.5, 0.75\n    counts = ["),
    ),
    ranking("no mean of nothing", "no passages", ("max(len(lengths), 1)", "len(lengths)")),
    ranking(
        "scores of texts without words",
        "without words",
        (LONG, "LONG[i]"),
        (
            "    scores = [0.0] * N",
            "    LONG = [1 - b + b * n / mean for n in lengths]\n    scores = [0.0] * N",
        ),
    ),
    ranking(
        "passages in place of numbers",
        "(index, score)",
        ("[(i, scores[i]) for", "[(passages[i], scores[i]) for"),
    ),
    ranking(
        "numbers alone", "(index, score)", ("[(i, scores[i]) for i in ranked[:k]]", "ranked[:k]")
    ),
    ranking("k of 0", "'k': 0", ("if k < 1:", "if k < 0:")),
    ranking("b unchecked", "'b':", (" or not 0 <= b <= 1", "")),
    ranking("k1 unchecked", "'k1':", ("k1 < 0 or ", "")),
    ranking(
        "does no work: the first k",
        "best first",
        (
            "    counts = [",
            "    return [(i, 1.0) for i in range(min(k, len(passages)))]\n    counts = [",
        ),
    ),
    ranking("does no work: nothing found", "indices", ("return [(i", "return []\n    return [(i")),
    facts(
        "in one sentence",
        "of two sentences",
        (ABOUT, "[s for p in passages for s in p.split('. ') if mentions(s, [entity])]"),
    ),
    facts(
        "the name first",
        "the name at its end",
        (ABOUT, f"{ABOUT[:-1]} and p.lower().startswith(entity.lower())]"),
    ),
    facts(
        "borders of words",
        "the decimals of another number",
        (KNOWN, "{v for p in about for v in values if re.search(rf'(?i)\\b{re.escape(v)}\\b', p)}"),
        ("def ", "import re\ndef "),
    ),
    facts(
        "each sentence by itself",
        "in two sentences",
        (
            RESULT,
            "[(v, v in known) for part in answer.split('.') for v in mentions(part, values)]",
        ),
    ),
    facts(
        "values sorted", "`values` was changed", ("    about =", "    values.sort()\n    about =")
    ),
    facts("whoever is named", "names somebody else", (ABOUT, "passages")),
    facts("the first name alone", "a part of the name", ("[entity])", "[entity.split()[0]])")),
    facts(
        "name and value in two passages",
        "in two passages",
        (KNOWN, "set(mentions(' '.join(passages), values)) if about else set()"),
    ),
    facts(
        "the name as part of a longer one",
        "a longer name",
        (ABOUT, "[p for p in passages if entity in p]"),
    ),
    facts(
        "values as parts of numbers",
        "capitals",
        (KNOWN, "{v for p in about for v in values if v in p}"),
    ),
    facts(
        "capitals count",
        "capitals",
        (KNOWN, "{v for p in about for v in mentions(p, values) if v in p}"),
    ),
    facts(
        "parts of longer values",
        "inside a longer one",
        (KNOWN, "{v for p in about for v in values if mentions(p, [v])}"),
    ),
    facts("the claims that hold alone", "claim", (RESULT, RESULT[:-1] + " if value in known]")),
    facts(
        "in the order of the list",
        "order of the answer",
        (RESULT, "[(v, v in known) for v in values if v in mentions(answer, values)]"),
    ),
    facts(
        "a value again and again",
        "said twice",
        (
            RESULT,
            "[(v, v in known) for w in re.findall('[A-Z][a-z]+|[a-z0-9. ]+', answer) "
            "for v in mentions(w, values)]",
        ),
        ("def ", "import re\ndef "),
    ),
    facts("the verdict turned round", "claim", ("value in known)", "value not in known)")),
    facts(
        "one verdict for all",
        "a list of (value",
        (RESULT, "all(value in known for value in mentions(answer, values))"),
    ),
    facts(
        "verdicts without values",
        "a list of (value",
        (RESULT, "[value in known for value in mentions(answer, values)]"),
    ),
    facts(
        "lists in place of tuples",
        "a list of (value",
        (RESULT, "[[value, value in known] for value in mentions(answer, values)]"),
    ),
    facts(
        "all values, said or not",
        "claim",
        (RESULT, "[(value, value in known) for value in values]"),
    ),
    facts("the first passage alone", "claim", (ABOUT, ABOUT + "[:1]")),
    facts("an empty entity", "the entity", ("if not entity.strip():", "if False:")),
    facts("blanks pass for an entity", "the entity", ("not entity.strip()", "not entity")),
    facts(
        "checked only where there are passages",
        "whatever else is empty",
        ("not entity.strip()", "not entity.strip() and passages"),
    ),
    facts("does no work: all hold", "two false claims", ("value in known)", "True)")),
    facts("does no work: no claims", "claim", (RESULT, "[]")),
    answer("the last claim alone", "every claim must be borne out", (HOLDS, f"{HOLDS[:-1]}[-1:])")),
    answer(
        "the shortest that holds",
        "the longer one first",
        ("for draft in drafts:", "for draft in sorted(drafts, key=len):"),
    ),
    answer(
        "values of the first draft",
        "two false drafts",
        (
            "    for draft",
            "    values = mentions(drafts[0], values) if drafts else values\n    for draft",
        ),
    ),
    answer(
        "sentences cut off",
        "one claim of two holds",
        (
            "        if all",
            "        draft = draft.partition('. Or')[0]\n        if all",
        ),
    ),
    answer(
        "a claim must name the entity",
        "names nobody",
        (HOLDS, f"{HOLDS} and (not mentions(draft, values) or mentions(draft, [entity]))"),
    ),
    answer(
        "the refusal is no draft",
        "the refusal's words",
        (
            "    for draft in drafts:\n",
            "    for draft in drafts:\n        if draft == refusal:\n            continue\n",
        ),
    ),
    answer(
        "drafts are used up",
        "`drafts` was changed",
        ("    for draft in drafts:\n", "    while drafts:\n        draft = drafts.pop(0)\n"),
    ),
    answer(
        "one claim is enough",
        "every claim must be borne out",
        (
            HOLDS,
            "any(held for _, held in check_facts(draft, passages, values, entity) or [(0, True)])",
        ),
    ),
    answer("not checked", "may not be given", (HOLDS, "True")),
    answer(
        "the last that holds",
        "not the last",
        ("for draft in drafts:", "for draft in reversed(drafts):"),
    ),
    answer(
        "a draft must claim something",
        "nothing to be checked",
        (HOLDS, f"check_facts(draft, passages, values, entity) and {HOLDS}"),
    ),
    answer(
        "the first draft alone",
        "a false draft first",
        ("for draft in drafts:", "for draft in drafts[:1]:"),
    ),
    answer(
        "the first draft where none holds",
        "none that holds",
        ("return refusal", "return drafts[0] if drafts else refusal"),
    ),
    answer(
        "nothing where none holds", "return a text", ("    return refusal\n", "    return None\n")
    ),
    answer(
        "a refusal of its own",
        "none that holds",
        ("    return refusal\n", "    return 'I do not know.'\n"),
    ),
    answer("tidied", "as it is", ("return draft", "return draft.strip()")),
    answer(
        "the claim in place of the draft",
        "draft",
        ("return draft", "return (mentions(draft, values) or [draft])[0]"),
    ),
    answer("false claims first", "draft", (HOLDS, HOLDS.replace("all(held", "all(not held"))),
    answer("all drafts joined", "draft", ("return draft", "return ' '.join(drafts)")),
    answer(
        "an empty draft is none",
        "an empty draft",
        ("for draft in drafts:", "for draft in filter(None, drafts):"),
    ),
    answer(
        "the entity is left to check_facts",
        "with 0 drafts",
        ("if not entity.strip():", "if False:"),
    ),
    answer(
        "blanks pass for an entity", "an entity of one blank", ("not entity.strip()", "not entity")
    ),
    answer(
        "does no work: always refuses",
        "a false draft first",
        ("    for draft", "    return refusal\n    for draft"),
    ),
    answer(
        "does no work: the first draft",
        "may not be given",
        ("    for draft", "    return drafts[0] if drafts else refusal\n    for draft"),
    ),
]

EQUIVALENT = {
    ("filter_toxic", "delete `if len(chats) != len(scores):`"): "the strict zip raises the same",
    ("filter_toxic", "delete `if len(chat) != len(of_chat):`"): "the strict zip raises the same",
    ("retrieve", "swap arguments of `max(len(lengths), 1)`"): "the larger of two, in any order",
}
