"""Every system of the field that the course speaks of is started by a test, or it says why not.

The table names the tests. Each must be collected, and its own code must lead to the system: what is
followed are the functions, fixtures and modules that a test uses, so that a test which only looks
whether a package is there, or talks to a stand-in, is no proof.
"""

import ast
import functools
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from utils.settings import project_root

ROOT = project_root()
OURS = ("tests", "utils")


@dataclass(frozen=True)
class System:
    """A system, the tests that start it, and what must stand in the code that they run.

    Args:
        started: pattern; "" with `why_not`.
        why_not: in words, where no test can start it.
    """

    name: str
    tests: tuple[str, ...] = ()
    started: str = ""
    why_not: str = ""


def importing(package: str) -> str:
    """Return the pattern of an import of a package."""
    return rf"\b(import|from) {package}\b"


SYSTEMS = (
    System(
        "PyTorch", ("test_zero::test_shards_are_those_of_torchs_collectives",), importing("torch")
    ),
    System(
        "Transformers",
        (
            "test_pretrained::test_imported_logits_equal_those_of_transformers",
            "test_pretrained::test_exported_checkpoint_is_read_back_by_transformers",
        ),
        importing("transformers") + r"|transformers\.",
    ),
    System(
        "PEFT",
        ("test_bridges_07::test_peft_gives_the_logits_of_our_adapters_apart_and_merged",),
        importing("peft"),
    ),
    System(
        "TRL",
        (
            "test_align_trl::test_dpo_and_ipo_equal_trl",
            "test_align_trl::test_grpo_equals_trl_in_all_four_normalisations",
            "test_sft::test_loss_equals_that_of_trl_on_the_same_batch_of_talks",
        ),
        importing("trl"),
    ),
    System("datasets", ("test_align_trl::test_kto_equals_trl",), importing("datasets")),
    System(
        "bitsandbytes",
        ("test_bridges_07::test_a_linear_layer_of_bitsandbytes_gives_our_answer",),
        importing("bitsandbytes"),
    ),
    System(
        "DeepSpeed",
        (
            "test_zero::test_deepspeed_has_the_same_losses",
            "test_launch::test_deepspeed_reads_its_configuration",
        ),
        importing("deepspeed"),
    ),
    System(
        "Megatron",
        (
            "test_launch::test_megatron_core_accepts_what_is_written_and_refuses_what_we_refuse",
            "test_model_parallel::test_megatrons_own_layers_give_our_outputs_and_gradients",
        ),
        importing(r"megatron\.core"),
    ),
    System(
        "W&B",
        (
            "test_bridges_04::test_wandb_reads_our_records_offline",
            "test_launch::test_rank_0_alone_logs_to_w_and_b_offline",
        ),
        importing("wandb"),
    ),
    System(
        "TensorBoard",
        ("test_launch::test_rank_0_alone_logs_to_tensorboard_and_a_later_attempt_takes_over",),
        importing(r"torch\.utils\.tensorboard"),
    ),
    System(
        "DVC",
        (
            "test_capstone::test_dvc_runs_what_depends_on_a_change_and_nothing_else",
            "test_capstone::test_dvc_exp_run_over_settings_gives_a_table_and_leaves_the_folder",
        ),
        "'-m', 'dvc'",
    ),
    System(
        "Ray",
        (
            "test_launch::test_ray_replaces_a_killed_worker_and_the_losses_are_the_same",
            "test_launch::test_ray_tune_tries_three_learning_rates_and_names_the_best",
            "test_capstone_clusters::test_ray_makes_the_same_models_though_a_worker_is_killed",
            "test_grade_engines::"
            "test_a_worker_killed_at_work_is_replaced_and_the_records_are_the_same",
        ),
        importing("ray"),
    ),
    System(
        "SLURM",
        (
            "test_launch::test_slurm_puts_a_killed_job_back_and_the_losses_are_the_same",
            "test_capstone_clusters::test_slurm_makes_the_same_models_and_runs_nothing_twice",
            "test_grade_engines::"
            "test_a_worker_killed_at_work_is_replaced_and_the_records_are_the_same",
        ),
        "'slurmctld', '-D'",
    ),
    System(
        "lm-evaluation-harness",
        ("test_harness::test_the_base_model_is_right_where_our_loop_says_so",),
        importing("lm_eval"),
    ),
    System(
        "HELM",
        why_not="the releases of crfm-helm that were tried pin old packages, so it fits "
        "into no environment with the course, and none was found that installs beside it. "
        "Lecture 09 makes HELM's table of scenarios and metrics itself.",
    ),
    System(
        "Ragas",
        ("test_ragas::test_ragas_gives_the_scores_of_the_lecture",),
        importing("ragas"),
    ),
    System(
        "LLM judge",
        ("test_served_judge::test_a_pair_is_judged_over_http_as_in_this_process",),
        "'transformers.cli.transformers', 'serve'",
    ),
    System(  # Perspective itself is a service with keys; a server on this machine has its shape
        "Perspective-style scorer",
        ("test_safety::test_a_service_is_asked_with_its_key_in_a_header_and_told_not_to_store",),
        r"ThreadingHTTPServer\(",
    ),
    System(
        "human evaluation",
        (
            "test_labelling::test_every_label_is_on_disk_when_the_process_is_killed",
            "test_labelling::test_the_widget_takes_buttons_and_keys_and_shows_no_markup",
        ),
        r"\bLabelling\(",
    ),
    System(
        "A/B",
        ("test_evaluate_statistics::test_sample_size_gives_the_power_by_statsmodels",),
        importing("statsmodels"),
    ),
    System(
        "nbval",
        ("test_build_course::test_nbval_agrees_with_what_was_stored_and_an_unsolved_lab_runs",),
        "'--nbval'",
    ),
    System(
        "jupytext",
        ("test_build_sources::test_lab_has_stub_and_solution_has_body",),
        importing("jupytext"),
    ),
    System(
        "nbgrader",
        (
            "test_export_nbgrader::"
            "test_nbgrader_gives_the_points_of_our_checks_and_leaves_written_answers_to_people",
        ),
        "'-m', 'nbgrader'",
    ),
)
NAMED = [(system, test) for system in SYSTEMS for test in system.tests]


def file_of(module: str) -> Path | None:
    """Return the file of a module of the repository, or None for any other."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    return path if module.split(".")[0] in OURS and path.is_file() else None


@functools.cache
def names_of(module: str) -> dict[str, ast.AST | tuple[str, str]]:
    """Return what a module's names are: nodes of its own, or (module, name) that it imports."""
    found: dict[str, ast.AST | tuple[str, str]] = {}
    for node in ast.walk(ast.parse(file_of(module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = (alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module, alias.name)
    for node in ast.parse(file_of(module).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            targets = [name for target in node.targets for name in ast.walk(target)]
            found |= {one.id: node.value for one in targets if isinstance(one, ast.Name)}
    return found


def code_behind(module: str, name: str) -> str:
    """Return the code that a name of a module leads to, with the imports of other packages.

    Followed are names, fixtures by their arguments or as texts, attributes of modules, and modules
    that stand as texts, as in `python -m tests.ragas_worker`. Decorators and docstrings are no code
    of it: a mark that skips a test where a package is missing starts nothing.
    """
    waiting, seen, texts = [(module, name)], set(), []
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        module, name = place
        known = names_of(module)
        node = known.get(name)
        if isinstance(node, tuple):
            origin, original = node
            texts.append(f"import {origin}")
            whole = f"{origin}.{original}" if original else origin
            if file_of(origin) and original:
                waiting.append((origin, original))
            elif file_of(whole):
                texts.append(f"import {whole}")
            continue
        if node is None:
            continue
        texts.append(plain_code(node))
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                waiting.append((module, inner.id))
            elif isinstance(inner, ast.arg):
                waiting.append((module, inner.arg))
            elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
                origin = known.get(inner.value.id)
                if isinstance(origin, tuple):
                    whole = ".".join(part for part in origin if part)
                    waiting += [(whole, inner.attr)] if file_of(whole) else []
            elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                if isinstance(known.get(inner.value), ast.FunctionDef):  # a fixture
                    waiting.append((module, inner.value))
                elif file_of(inner.value):
                    waiting += [(inner.value, one) for one in names_of(inner.value)]
    return "\n".join(texts)


def plain_code(node: ast.AST) -> str:
    """Return code without decorators and docstrings."""
    node = ast.parse(ast.unparse(node))
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.ClassDef):
            inner.decorator_list = []
            if ast.get_docstring(inner) is not None:
                inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def test_every_system_is_started_or_says_why_not():
    for system in SYSTEMS:
        assert bool(system.tests) == bool(system.started) != bool(system.why_not), system.name
    names = [system.name for system in SYSTEMS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("system, test", NAMED, ids=[f"{s.name}: {t}" for s, t in NAMED])
def test_the_named_test_leads_to_the_system_itself(system, test):
    module, _, name = test.partition("::")
    code = code_behind(f"tests.{module}", name)
    assert code, f"tests/{module}.py has no {name}"
    assert re.search(system.started, code), f"nothing behind {test} starts {system.name}"


@pytest.mark.parametrize(
    "system, test",
    [
        ("LLM judge", "test_rubric::test_a_judge_proposes_and_records_nothing"),
        ("SLURM", "test_launch::test_the_sbatch_script_is_a_script"),
        ("Ray", "test_launch::test_the_sbatch_script_is_a_script"),
        ("Ragas", "test_ragas::test_the_cases_tell_the_scores_apart"),
        ("DVC", "test_capstone::test_energy_grows_with_time_and_has_a_range"),
        ("W&B", "test_launch::test_deepspeed_reads_its_configuration"),
        ("nbgrader", "test_export_nbgrader::test_the_extra_admits_the_pin"),
    ],
)
def test_a_test_that_starts_something_else_is_no_proof(system, test):
    (started,) = [one.started for one in SYSTEMS if one.name == system]
    module, _, name = test.partition("::")
    code = code_behind(f"tests.{module}", name)
    assert code and not re.search(started, code)


@pytest.mark.slow
def test_the_named_tests_are_collected():
    wanted = sorted({f"tests/{test.replace('::', '.py::')}" for _, test in NAMED})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *wanted], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    found = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert set(wanted) <= found
