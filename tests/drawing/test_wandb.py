"""The dashboard command, up to the request to W&B, whose server is replaced by a dict of views."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
import wandb

from secseg.cli import dashboard
from secseg.drawing.overlays import GalleryItem
from secseg.drawing.wandb import MARGIN, wandb_images
from tests.command import Outcome, run_in_process
from tests.conftest import REPOSITORY

KEY = "0123456789" * 4
Run = Callable[..., Outcome]


class Server:
    """Replaces ``wandb.Api`` and its service."""

    default_entity = "me"

    def __init__(self) -> None:
        self.views: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.projects = {("me", "secseg"), ("my_team", "my_project")}
        self.error: Exception | None = None
        self._service_api = self

    def execute_graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if self.error:
            raise self.error
        if "mutation" in query:
            key = (variables["entityName"], variables["projectName"], variables["name"])
            assert variables.get("id") == self.views.get(key, {}).get("id"), "another view's id, or a second view"
            self.views[key] = {"id": f"id of {key}", **variables}
            return {"upsertView": {"view": {"id": self.views[key]["id"], "name": key[2]}}}
        key = (variables["entityName"], variables["name"], variables["viewName"])
        if key[:2] not in self.projects:
            return {"project": None}
        nodes = [{"node": self.views[key]}] if key in self.views else []
        return {"project": {"allViews": {"edges": nodes}}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    found = Server()
    monkeypatch.setattr(wandb, "Api", lambda: found)
    return found


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *words: run_in_process(dashboard.main, list(words), tmp_path / "run", monkeypatch, capsys)


def grouping(view: dict[str, Any]) -> list[str]:
    (runs,) = json.loads(view["spec"])["section"]["runSets"]
    return [f"{key['section']}:{key['name']}" for key in runs["grouping"]]


def test_the_first_command_creates_the_view_and_the_next_updates_it(server: Server, run: Run, tmp_path: Path) -> None:
    first = run()
    assert first.code == 0, first.error
    (key,) = server.views
    view = server.views[key]
    assert (key[:2], view["displayName"], view["type"]) == (("me", "secseg"), "secseg", "project-view")
    assert grouping(view) == ["run:group", "run:displayName"]
    second = run("group_by=[Group,decay.pos]")
    assert second.code == 0, second.error
    assert set(server.views) == {key}
    assert grouping(server.views[key]) == ["run:group", "config:decay.value.pos"]
    assert json.loads((tmp_path / "run" / "dashboard.json").read_text()) == json.loads(server.views[key]["spec"])


def test_the_settings_in_the_documentation_are_accepted(server: Server, run: Run) -> None:
    page = (REPOSITORY / "docs" / "wandb.md").read_text("utf-8")
    (words,) = re.findall(r"^python src/dashboard.py (.+)$", page, re.MULTILINE)
    for word in [words, *re.findall(r"`'(group_by=.+?)'`", page)]:
        outcome = run(word)
        assert outcome.code == 0, outcome.error
    (view,) = server.views.values()
    assert grouping(view) == []


def test_its_address_is_printed(server: Server, run: Run) -> None:
    said = run("entity=my_team", "project=my_project").output.splitlines()
    address = urlparse(said[-2])
    assert address.geturl().startswith(f"{wandb.setup().settings.app_url}/my_team/my_project?")
    assert [f"nw-{word}-v" for word in parse_qs(address.query)["nw"]] == [name for *_, name in server.views]


def test_two_projects_have_views_of_different_names(server: Server, run: Run) -> None:
    run()
    run("entity=my_team", "project=my_project")
    assert len({name for *_, name in server.views}) == 2


def test_without_a_key_the_error_says_how_to_log_in(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    outcome = run()
    assert (outcome.code, server.views) == (1, {})
    assert outcome.error == "The dashboard needs a W&B key. Log in with `wandb login`, or set WANDB_API_KEY.\n"


def test_a_missing_connection_is_reported_without_a_traceback(server: Server, run: Run, tmp_path: Path) -> None:
    server.error = wandb.errors.CommError("Failed to connect.")
    outcome = run()
    assert outcome.code == 1
    assert outcome.error.startswith("The dashboard of your/secseg could not be saved: Failed to connect. Check the net")
    assert len(outcome.error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_project_without_runs_is_reported(server: Server, run: Run) -> None:
    outcome = run("project=nowhere")
    assert outcome.code == 1
    assert outcome.error.startswith("W&B has no project me/nowhere: ")
    assert "logger.wandb.project=nowhere" in outcome.error


def test_names_that_are_not_a_list_are_refused(server: Server, run: Run) -> None:
    assert run("group_by=Group").error == "group_by=Group: give a list of names: group_by=[Group,Name].\n"
    assert run("terms=size").error == "terms=size: give a list of names: terms=[size].\n"


def test_without_the_package_the_error_names_its_extra(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secseg.utils.errors.find_spec", lambda name: None)
    assert "pip install 'secseg[dashboard]'" in run().error


def test_the_images_of_a_list_have_one_size_as_wandb_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "Image", lambda image, caption, masks: (image, caption, masks))
    sizes = {"tall": (9, 4), "wide": (5, 8)}
    items = [
        GalleryItem(
            name, np.ones((*size, 3), np.uint8), np.zeros((3, 3), np.uint8), np.ones(size, np.uint8), None, None
        )
        for name, size in sizes.items()
    ]
    for image, name, masks in wandb_images(items, ("background", "cat")):
        height, width = sizes[name]
        assert set(masks) == {"cues", "prediction"}
        for value, margin, pixels in (
            (1, MARGIN, image),
            (0, 255, masks["cues"]["mask_data"]),
            (1, 255, masks["prediction"]["mask_data"]),
        ):
            assert pixels.shape[:2] == (9, 8)
            assert (pixels[:height, :width] == value).all()
            assert (pixels[height:] == margin).all()
            assert (pixels[:, width:] == margin).all()
    assert wandb_images([], ()) == []
