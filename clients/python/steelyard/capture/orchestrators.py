"""The run that made a version, from the variables that trackers and orchestrators set for it."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import NamedTuple

from steelyard.content import Source


class System(NamedTuple):
    """How one system names a run and its pipeline, as templates over its variables.

    Of each the first template counts whose variables are all set. Names of attempts are left out: what
    is tried again is the same run, and its push the same version.
    """

    run: tuple[str, ...]
    pipeline: tuple[str, ...] = ()


# From the innermost to the outermost: a tracked run may be part of a job, and that of a pipeline.
SYSTEMS = {
    "Weights & Biases": System(
        run=(
            "wandb:{WANDB_ENTITY}/{WANDB_PROJECT}/{WANDB_RUN_ID}",
            "wandb:{WANDB_PROJECT}/{WANDB_RUN_ID}",
            "wandb:{WANDB_RUN_ID}",
        ),
    ),
    "MLflow": System(run=("mlflow:{MLFLOW_RUN_ID}",)),
    "SageMaker": System(run=("{TRAINING_JOB_ARN}",)),
    # Its pods know the run by name only where a pipeline hands it on.
    "Kubeflow": System(run=("kubeflow:{KFP_RUN_ID}", "kubeflow:{KFP_POD_NAME}")),
    "Airflow": System(
        run=("airflow:{AIRFLOW_CTX_DAG_ID}/{AIRFLOW_CTX_DAG_RUN_ID}",),
        pipeline=("airflow:{AIRFLOW_CTX_DAG_ID}",),
    ),
    "GitHub": System(
        run=("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",),
        pipeline=("github:{GITHUB_WORKFLOW_REF}",),
    ),
    "GitLab": System(run=("{CI_PIPELINE_URL}",), pipeline=("gitlab:{CI_PROJECT_PATH}",)),
}


def source(variables: Mapping[str, str]) -> Source:
    """Return run and pipeline of the systems that set *variables*, the innermost first."""
    found = [system for system in SYSTEMS.values() if _first(system.run, variables)]
    runs = [_first(system.run, variables) for system in found]
    pipelines = [_first(system.pipeline, variables) for system in found]
    return Source(run=", ".join(runs), pipeline=", ".join(filter(None, pipelines)))


def _first(templates: tuple[str, ...], variables: Mapping[str, str]) -> str:
    for template in templates:
        names = [name for _, name, _, _ in Formatter().parse(template) if name]
        if all(variables.get(name, "").strip() for name in names):
            return template.format_map({name: variables[name].strip() for name in names})
    return ""
