"""The dashboards against the types that Grafana publishes, by TypeScript's compiler."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from energysweep.monitoring import Json, dashboards
from tests.conftest import need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

KINDS = {"bargauge": "BarGauge", "stat": "Stat", "table": "Table", "timeseries": "TimeSeries", "xychart": "XYChart"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiler and three versions of the schema."""
    folder = tmp_path_factory.mktemp("typecheck")
    for file in (Path(__file__).parent / "typecheck").iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    command = [need("npm"), "install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=5"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=400)
    return folder


def compile_with(project: Path, major: int, contents: list[Json]) -> str:
    """What the compiler says of dashboards, under one version of Grafana's types."""
    schema = project / "node_modules" / f"schema-{major}" / "dist"
    if (schema / "types").is_dir():  # since 12.4
        root, path = schema / "types" / "index.d.ts", "types/raw/composable/{0}/panelcfg/x/types.gen.d.ts"
    else:
        root, path = schema / "esm" / "index.d.mts", "esm/raw/composable/{0}/panelcfg/x/{1}PanelCfg_types.gen.d.ts"
    paths = {"@grafana/schema": [str(root)]}
    paths |= {f"panelcfg/{kind}": [str(schema / path.format(kind, name))] for kind, name in KINDS.items()}
    assert all(Path(path).is_file() for each in paths.values() for path in each)
    options = {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": True,  # of Grafana's files; ours are .ts
        "module": "esnext",
        "moduleResolution": "bundler",
        "target": "es2022",
        "types": [],
        "paths": paths,
    }
    names = [f"checked-{number}.ts" for number, _ in enumerate(contents)]
    for name, content in zip(names, contents, strict=True):
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (project / name).write_text(
            f"import type {{ Checked }} from './dashboard';\nexport const dashboard: Checked = {text};\n"
        )
    config = project / f"tsconfig-{major}.json"
    config.write_text(json.dumps({"compilerOptions": options, "files": ["dashboard.ts", *names]}))
    done = subprocess.run(
        [str(project / "node_modules" / ".bin" / "tsc"), "--project", str(config)],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("major", [11, 12, 13])
def test_the_dashboards_have_the_types_of_grafana(project: Path, major: int) -> None:
    assert compile_with(project, major, list(dashboards())) == ""


def panel(dashboard: Json, kind: str) -> Any:
    return next(panel for panel in dashboard["panels"] if panel["type"] == kind)


def misspelt_option(dashboard: Json) -> None:
    panel(dashboard, "stat")["options"]["textModus"] = "value"


def wrong_mapping(dashboard: Json) -> None:
    panel(dashboard, "xychart")["options"]["mapping"] = "by hand"


def old_chart(dashboard: Json) -> None:
    panel(dashboard, "xychart")["options"]["series"] = [{"x": "Energy", "y": "Metric"}]


def wrong_stacking(dashboard: Json) -> None:
    panel(dashboard, "timeseries")["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] = "stacked"


def wrong_refresh(dashboard: Json) -> None:
    dashboard["templating"]["list"][1]["refresh"] = 7


def fixed_source(dashboard: Json) -> None:
    panel(dashboard, "table")["targets"][0]["datasource"]["uid"] = "P1809F7CD0C75ACF3"


@pytest.mark.parametrize(
    "spoil",
    [misspelt_option, wrong_mapping, old_chart, wrong_stacking, wrong_refresh, fixed_source],
    ids=lambda spoil: spoil.__name__,
)
def test_the_compiler_finds_what_is_wrong(project: Path, spoil: Callable[[Json], None]) -> None:
    spoilt = copy.deepcopy(dashboards()[0])
    spoil(spoilt)
    assert "error TS2" in compile_with(project, 13, [spoilt])
