"""What lies in deploy/ and the Containerfile, as far as it can be tried without a cluster's own software."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tiny_cluster
import tiny_package

from foveate import cli
from foveate.inference import api

pytest.importorskip("pyarrow", reason="needs foveate[cluster]")

ROOT = Path(__file__).parent.parent

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_tasks_of_a_slurm_array_do_all_between_them_and_an_array_of_one_writes_the_tables(tmp_path):
    source = tiny_cluster.write_eyes(tmp_path / "eyes", count=3)
    model = tiny_package.build(tmp_path / "tiny")
    api.load(model, engine="onnx", threads=1).predict([source], tmp_path / "plain")
    command = tmp_path / "bin" / "foveate"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m foveate "$@"\n')
    command.chmod(0o755)

    def task(index, count):
        variables = {"SLURM_ARRAY_TASK_ID": index, "SLURM_ARRAY_TASK_COUNT": count, "SLURM_ARRAY_JOB_ID": 7}
        variables |= {"SLURM_CPUS_PER_TASK": 1, "FOVEATE_LOGS": tmp_path}
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        environment["PATH"] = f"{command.parent}:{environment['PATH']}"
        line = [ROOT / "deploy/slurm.sh", source, tmp_path / "out", "--model", model, "--engine", "onnx"]
        subprocess.run(["bash", *map(str, line)], env=environment, check=True, capture_output=True)

    for index in (1, 2):
        task(index, 2)
        assert not (tmp_path / "out" / "summary.csv").exists()
    task(1, 1)

    assert tiny_cluster.results(tmp_path / "out") == tiny_cluster.results(tmp_path / "plain")
    done = [
        event["photograph"]
        for log in tmp_path.glob("foveate-7-*.jsonl")
        for event in tiny_cluster.logged_events(log)
        if event["event"] == "photograph"
    ]
    assert len(done) == len(set(done)) == 3


def test_the_job_for_kubernetes_says_a_line_that_foveate_knows():
    yaml = pytest.importorskip("yaml", reason="needs foveate[cluster]: Ray brings PyYAML")
    spec = yaml.safe_load((ROOT / "deploy/kuberay.yaml").read_text())["spec"]
    line = shlex.split(spec["entrypoint"])

    assert line[0] == "foveate"
    command, given, _ = cli.app.parse_args(line[1:])
    assert command.__name__ == "predict"
    options = given.arguments["options"]
    assert options.cluster.on == "ray://auto"
    assert options.resume
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {group["template"]["spec"]["containers"][0]["image"] for group in groups}
    assert len(images) == 1
    workers = cluster["workerGroupSpecs"][0]
    cores = int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert workers["replicas"] * cores == options.workers


def test_the_container_s_example_writes_as_the_user_who_runs_it():
    comments = re.findall(r"^#(.*)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    example = "\n".join(comments).partition("podman run")
    mounted = re.findall(r"-v \./(\w+):/\w+ ", example[2])

    assert '--user "$(id -u):$(id -g)"' in example[2]
    assert mounted == ["out"]
    assert "mkdir -p out" in example[0]


def test_the_container_takes_files_and_extras_that_exist():
    text = (ROOT / "Containerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    (extras,) = re.findall(r"pip install '\.\[([\w,]+)\]'", text)

    assert {"pyproject.toml", "src", "README.md"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    assert set(extras.split(",")) <= set(EXTRAS)
