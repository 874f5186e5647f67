"""A node whose answers are wrong: what a test puts before Python's modules as `sitecustomize`."""

LINES = '''
import sys

class Wrong:
    """Changes `site` when it is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "fl_runtime.flower.site":
            return None
        sys.meta_path.remove(self)
        import importlib.util
        found = importlib.util.find_spec(name)
        load = found.loader.exec_module

        def exec_module(module):
            load(module)
            pack = module.packed_updates
            from dataclasses import replace

            def packed(numbered):
                return pack([(n, replace(u, delta=wrong(u))) for n, u in numbered])

            module.packed_updates = packed

        found.loader.exec_module = exec_module
        return found


def wrong(update):
    """Not a number for one task, another shape for the other."""
    if update.task == "wine":
        return {k: v * float("nan") for k, v in update.delta.items()}
    return {k: v.flatten()[:1] for k, v in update.delta.items()}


sys.meta_path.insert(0, Wrong())
'''
