"""What pyproject.toml cannot say: experiments/ and optuna_studies/ stay where they are and are packaged below d2n."""

from setuptools import find_packages, setup

YAMLS = {"d2n.experiments": "experiments", "d2n.optuna_studies": "optuna_studies"}

setup(
    packages=[*find_packages(include=["d2n", "d2n.*"]), *YAMLS],
    package_dir=YAMLS,
    package_data={
        "d2n": ["py.typed"],
        "d2n.workflows.report": ["*.html", "*.css"],
        "d2n.workflows.find": ["*.html"],
        "d2n.workflows.show": ["*.html", "*.css", "*.js"],
        **{name: ["*.yaml"] for name in YAMLS},
    },
)
