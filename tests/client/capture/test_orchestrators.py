"""Runs and pipelines, from the variables that the documentation of each system names."""

from __future__ import annotations

import pytest

from steelyard import Source
from steelyard.capture import bounds
from steelyard.capture.orchestrators import SYSTEMS, source

AIRFLOW = {
    "AIRFLOW_CTX_DAG_ID": "train_fraud",
    "AIRFLOW_CTX_TASK_ID": "fit",
    "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__2026-11-24T00:00:00+00:00",
    "AIRFLOW_CTX_TRY_NUMBER": "2",
    "AIRFLOW_CTX_DAG_OWNER": "ada",
}
AIRFLOW_RUN = "airflow:train_fraud/scheduled__2026-11-24T00:00:00+00:00"
KUBEFLOW_V1 = {"KFP_RUN_ID": "8f14e45f-ceea", "KFP_POD_NAME": "train-xyz-123", "KFP_POD_UID": "u"}
KUBEFLOW_V2 = {"KFP_POD_NAME": "train-xyz-system-container-impl-123", "KFP_POD_UID": "u"}
SAGEMAKER = {
    "TRAINING_JOB_NAME": "fraud-2026-11-24",
    "TRAINING_JOB_ARN": "arn:aws:sagemaker:eu-central-1:123456789012:training-job/fraud-2026-11-24",
}
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "risk/fraud",
    "GITHUB_RUN_ID": "1658821493",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_WORKFLOW_REF": "risk/fraud/.github/workflows/train.yml@refs/heads/main",
    "GITHUB_TOKEN": "s3cret",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PIPELINE_ID": "1000",
    "CI_PIPELINE_URL": "https://gitlab.example.org/risk/fraud/-/pipelines/1000",
    "CI_PROJECT_PATH": "risk/fraud",
    "CI_JOB_ID": "50",
    "CI_JOB_TOKEN": "s3cret",
    "CI_REPOSITORY_URL": "https://gitlab-ci-token:s3cret@gitlab.example.org/risk/fraud.git",
}
WANDB = {
    "WANDB_ENTITY": "risk",
    "WANDB_PROJECT": "fraud",
    "WANDB_RUN_ID": "3k2jd8",
    "WANDB_API_KEY": "s3cret",
}
MLFLOW = {"MLFLOW_RUN_ID": "0a1b2c", "MLFLOW_TRACKING_URI": "https://ada:s3cret@mlflow.example.org"}

ROWS: dict[str, tuple[dict[str, str], str, str]] = {
    "Airflow": (
        AIRFLOW,
        AIRFLOW_RUN,
        "airflow:train_fraud",
    ),
    "Kubeflow": (KUBEFLOW_V1, "kubeflow:8f14e45f-ceea", ""),
    "Kubeflow, which names the pod alone": (KUBEFLOW_V2, f"kubeflow:{KUBEFLOW_V2['KFP_POD_NAME']}", ""),
    "SageMaker": (SAGEMAKER, SAGEMAKER["TRAINING_JOB_ARN"], ""),
    "GitHub": (
        GITHUB,
        "https://github.com/risk/fraud/actions/runs/1658821493",
        "github:risk/fraud/.github/workflows/train.yml@refs/heads/main",
    ),
    "GitLab": (GITLAB, GITLAB["CI_PIPELINE_URL"], "gitlab:risk/fraud"),
    "Weights & Biases": (WANDB, "wandb:risk/fraud/3k2jd8", ""),
    "Weights & Biases, of the default entity": (
        {"WANDB_PROJECT": "fraud", "WANDB_RUN_ID": "3k2jd8"},
        "wandb:fraud/3k2jd8",
        "",
    ),
    "Weights & Biases, nothing but a run": ({"WANDB_RUN_ID": "3k2jd8"}, "wandb:3k2jd8", ""),
    "MLflow": (MLFLOW, "mlflow:0a1b2c", ""),
    "a tracked run in a job of a pipeline": (
        AIRFLOW | MLFLOW | GITHUB,
        f"mlflow:0a1b2c, {AIRFLOW_RUN}, https://github.com/risk/fraud/actions/runs/1658821493",
        "airflow:train_fraud, github:risk/fraud/.github/workflows/train.yml@refs/heads/main",
    ),
    "none": ({"HOME": "/root", "CI": "true"}, "", ""),
    "a variable that is empty": ({"MLFLOW_RUN_ID": " "}, "", ""),
    "a project without a run": ({"WANDB_PROJECT": "fraud", "WANDB_ENTITY": "risk"}, "", ""),
    "a value with braces": ({"MLFLOW_RUN_ID": "{HOME}"}, "mlflow:{HOME}", ""),
}


@pytest.mark.parametrize(("variables", "run", "pipeline"), ROWS.values(), ids=ROWS)
def test_run_and_pipeline_are_named_as_the_system_does(
    variables: dict[str, str], run: str, pipeline: str
) -> None:
    assert source(variables) == Source(run=run, pipeline=pipeline)


def test_every_system_has_a_row() -> None:
    assert {name.partition(",")[0] for name in ROWS} >= SYSTEMS.keys()


@pytest.mark.parametrize("attempt", ["AIRFLOW_CTX_TRY_NUMBER", "GITHUB_RUN_ATTEMPT", "CI_JOB_ID"])
def test_another_attempt_is_the_same_run(attempt: str) -> None:
    variables = AIRFLOW | GITHUB | GITLAB
    assert source(variables | {attempt: "77"}) == source(variables)


def test_the_limits_are_those_of_the_server() -> None:
    assert (bounds.limit("text_bytes"), bounds.limit("files_count")) == (2048, 10_000)
