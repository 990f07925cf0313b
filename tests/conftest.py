"""The order in which test files run: those of the lab, which wait for packets, spread among those that compute."""


def pytest_collection_modifyitems(items):
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    place = {}
    for waiting in (True, False):
        group = [path for path in files if ("lab" in path.parts) is waiting]
        place |= {path: (number + 0.5) / len(group) for number, path in enumerate(group)}
    items[:] = [item for path in sorted(files, key=place.__getitem__) for item in files[path]]
