"""Runs Helm as a library: a JSON list of requests on standard input, a JSON list of answers on standard output.

A request is {"do": lint|render|schema|install|upgrade|test|uninstall, "chart": folder, ...}; an answer is {"ok": ...} or
{"error": "what Helm said"}. Values come as "values" (an object) and "files" (YAML files, merged in order before it).
"""

import json
import pathlib
import sys

import helm_python as helm


def merged(into, more):
    """What `-f` and `--set-json` do: maps are merged, all else is replaced."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merged(into[key], value)
        else:
            into[key] = value
    return into


def values(request):
    found = {}
    for file in request.get("files", []):
        merged(found, helm.values_from_yaml(pathlib.Path(file).read_text(encoding="utf-8")))
    return merged(found, request.get("values", {}))


def answer(request):
    do, chart = request["do"], request.get("chart")
    name, namespace = request.get("name", "headwater"), request.get("namespace", "headwater-system")
    if do == "lint":
        return helm.lint(chart, values(request), strict=True)
    if do == "schema":
        with helm.Chart.load(chart) as loaded:
            return loaded.validate_schema(values(request))
    if do == "render":
        with helm.Chart.load(chart) as loaded:
            loaded.validate_schema(values(request))
            return loaded.render(values(request), name=name, namespace=namespace, is_install=True)
    with helm.Config(kubeconfig_path=request["kubeconfig"], namespace=namespace) as cluster:
        if do == "install":
            return cluster.install(chart, name, values(request), namespace=namespace, timeout=60)
        if do == "upgrade":
            # As `--reset-values`: without any, Helm takes those of the release that there is.
            return cluster.upgrade(chart, name, values(request), namespace=namespace, timeout=60, reset_values=True)
        if do == "test":
            return cluster.test(name, timeout=request.get("timeout", 60))
        if do == "uninstall":
            return cluster.uninstall(name, timeout=60)
    raise ValueError(f"there is no such thing to do: {do}")


def main():
    answers = []
    for request in json.load(sys.stdin):
        try:
            answers.append({"ok": answer(request)})
        except (helm.HelmError, ValueError) as error:
            answers.append({"error": str(error)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
