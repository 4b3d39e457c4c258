"""Packaging of kube-emu. Every dependency of the project is pinned here and nowhere else."""

from setuptools import find_packages, setup

RUN = ["mininet==2.3.0.dev6", "scapy==2.8.0", "PyYAML==6.0.3", "click==8.5.1", "dnspython==2.9.2",
       "setuptools>=65; python_version >= '3.12'"]  # mininet imports distutils, which Python 3.12 dropped
TEST = ["pytest==9.2.0", "pytest-xdist==3.8.0", "pyroute2==0.9.7", "hypothesis==6.170.15", "import-linter==2.16",
        "ruff==0.17.5", "mypy==2.4.1"]

setup(
    name="kube-emu",
    version="0.1.0",
    description="A whole Kubernetes network on one Linux kernel, without Kubernetes",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["emu", "emu.*"]),
    package_data={"emu": ["**/*.yaml", "**/*.html", "**/*.c", "**/*.h"]},
    install_requires=RUN,
    extras_require={"test": TEST},
    entry_points={"console_scripts": ["emu = emu.main:main", "kube-emu-cni = emu.cniplugin.main:main"]},
)
