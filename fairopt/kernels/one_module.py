"""A gufunc compiled as one LLVM module: every helper is optimised once, inside the loop calling it.

numba links, optimises and generates code for each helper by itself, again in each of its callers
and again in the kernel: three quarters of the time, for code that nobody calls. Here the helpers
are only typed and lowered; all of them are linked into the module of the loop, where they are
private, and that module alone is optimised and becomes machine code. The passes are numba's own.

Names inside numba are used for this. Where one of them is gone, or the module holds addresses of
this process, `Unsupported` is raised, and `jit` lets numba compile in its own way.
"""

from __future__ import annotations

import gc
import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba

OLDEST = (0, 68)
"""Version of numba; with 0.61, llvmlite gives the attributes of functions to what they return."""

TRIED = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and tuple(numba.version_info.short or ()) >= OLDEST
)
"""Whether this has been tried on such a machine: a wrong relocation ends the process."""

LARGE = 20
"""Basic blocks beyond which a helper is called: LLVM would copy it to wherever it is used, and then
optimise every copy. A call is nothing beside so long a function."""

# Global variables that hold addresses of the process that compiled.
_OF_A_PROCESS = ("numba.dynamic.globals", ".numba.unresolved", "NumbaEnv")


class Unsupported(Exception):
    """This kernel, or this version of numba, has to be compiled in numba's own way."""


@dataclass(frozen=True)
class Code:
    """The machine code of a gufunc, good for any process on such a processor.

    Attributes:
        machine_code: An object file.
        loop: Its only public function, the loop over problems.
        types: NumPy's numbers of the types of the arguments.
        symbols: What the loader has to find elsewhere.
    """

    machine_code: bytes
    loop: str
    types: tuple[int, ...]
    symbols: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """One line with everything small and a digest, and the object file."""
        head = {"loop": self.loop, "types": self.types, "symbols": self.symbols}
        head |= {"sha256": hashlib.sha256(self.machine_code).hexdigest()}
        return json.dumps(head).encode() + b"\n" + self.machine_code

    @classmethod
    def from_bytes(cls, content: bytes) -> Code | None:
        """The code, or None if the bytes are not what `to_bytes` wrote."""
        line, _, machine_code = content.partition(b"\n")
        try:
            head = json.loads(line)
            if head["sha256"] != hashlib.sha256(machine_code).hexdigest():
                return None
            return cls(machine_code, head["loop"], tuple(head["types"]), tuple(head["symbols"]))
        except (ValueError, KeyError, TypeError):
            return None


def compiled(function: Callable[..., None], types: str, layout: str) -> Code:
    """Compile the loop of a gufunc and all that it calls.

    Raises:
        Unsupported: Where numba has to do it in its own way.
    """
    try:
        return _compiled(function, types, layout)
    except (AttributeError, ImportError, TypeError, RuntimeError) as error:
        # names or arguments that are gone, or a module that LLVM does not accept
        raise Unsupported(str(error)) from error


def _compiled(function: Callable[..., None], types: str, layout: str) -> Code:
    """`compiled`, where any name may be missing."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target
    from numba.np.numpy_support import as_dtype
    from numba.np.ufunc.ufuncbuilder import GUFuncBuilder
    from numba.np.ufunc.wrappers import build_gufunc_wrapper

    context = cpu_target.target_context
    with global_compiler_lock:
        context.refresh()  # what numba compiles for itself is not part of a kernel
        with _parts(context.codegen()), _no_collection():
            builder = GUFuncBuilder(function, layout, cache=False)
            core = builder.add(types)
            made = build_gufunc_wrapper(
                function, core, builder.sin, builder.sout, cache=False, is_parfors=False
            )
            module = _linked(made.library, made.name)
            machine_code: bytes = context.codegen()._tm.emit_object(module)
    numbers = tuple(int(as_dtype(getattr(t, "dtype", t)).num) for t in core.signature.args)
    return Code(machine_code, made.name, numbers, _symbols(module))


@contextmanager
def _parts(codegen: Any) -> Iterator[None]:
    """Inside, what is compiled stays a part: neither optimised nor turned into machine code."""
    part = _part_type()
    kept = {name: codegen.__dict__[name] for name in _REPLACED if name in codegen.__dict__}
    codegen._library_class = part
    codegen.set_env = part.environments.__setitem__
    part.waiting = True
    try:
        yield
    finally:
        part.waiting = False
        for name in _REPLACED:
            delattr(codegen, name)
        vars(codegen).update(kept)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Inside, garbage is not looked for: a seventh of the time, in which little would be found."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


_REPLACED = ("_library_class", "set_env")


@cache
def _part_type() -> Any:
    """The class of parts, which needs numba."""
    from numba.core.codegen import JITCodeLibrary

    class Part(JITCodeLibrary):
        """One function, with the names of those that it calls.

        Other code of this process may come across it later, as numba remembers what it compiled.
        Then it is finished in numba's own way.
        """

        waiting = False
        environments: dict[str, Any] = {}  # noqa: RUF012 (shared on purpose)
        _finished = False

        def _optimize_functions(self, module: Any) -> None:
            if not self.waiting:
                super()._optimize_functions(module)
            module.data_layout = self._codegen._data_layout

        def finalize(self) -> None:
            if not self.waiting:
                self._finish()
            self._finalized = True

        def _finish(self) -> None:
            if not self._finished:
                self._finished, self._finalized = True, False
                super()._optimize_functions(self._final_module)
                super().finalize()
                codegen: Any = self._codegen
                for variable in self._final_module.global_variables:
                    if variable.name in self.environments:
                        codegen.set_env(variable.name, self.environments[variable.name])

        def _get_module_for_linking(self) -> Any:
            self._finish()
            return super()._get_module_for_linking()

        def get_pointer_to_function(self, name: str) -> int:
            if self.waiting:
                return 0
            self._finish()
            pointer: int = super().get_pointer_to_function(name)
            return pointer

        def optimised(self) -> Any:
            """The module after all of numba's passes."""
            super()._optimize_functions(self._final_module)
            self._optimize_final_module()
            self._final_module.verify()
            return self._final_module

    return Part


def _always_inlined(function: Any) -> bool:
    """Whether a function asks for it: the bodies of gufuncs, which have very many arguments."""
    return any(b"alwaysinline" in words for words in function.attributes)


_SHARED = (llvm.Linkage.external, llvm.Linkage.linkonce_odr)


def _linked(library: Any, loop: str) -> Any:
    """The module of the loop with everything below it, all private but the loop, optimised."""
    module = library._final_module
    for part in _below(library):
        ours = isinstance(part, _part_type())
        copy = (part._final_module if ours else part._get_module_for_linking()).clone()
        for function in copy.functions:
            if not function.is_declaration and function.linkage in _SHARED:
                function.linkage = "weak_odr"  # kept even if who calls it is linked later
        module.link_in(copy)
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name == loop else "internal"
    for function in module.functions:
        if sum(1 for _ in function.blocks) > LARGE and not _always_inlined(function):
            function.add_function_attribute("noinline")
    for variable in module.global_variables:
        if "NumbaEnv" in variable.name and not variable.is_declaration:
            variable.linkage = "internal"  # vanishes where nothing reads it
    module = library.optimised()
    for variable in module.global_variables:
        if any(name in variable.name for name in _OF_A_PROCESS):
            raise Unsupported(f"{loop} refers to {variable.name}")
    return module


def _below(library: Any) -> list[Any]:
    """The libraries that one needs, directly or not, each once; a finished one has all of its."""
    found: dict[Any, None] = {}
    waiting = list(library._linking_libraries)
    while waiting:
        part = waiting.pop()
        if part not in found:
            if getattr(part, "_reload_init", None):  # numba 0.61 has none
                raise Unsupported(f"{part.name} is set up in each process")
            found[part] = None
            waiting += part._linking_libraries if isinstance(part, _part_type()) else ()
    return list(found)


def _symbols(module: Any) -> tuple[str, ...]:
    """What a module uses and does not define."""
    values = [*module.functions, *module.global_variables]
    names = (value.name for value in values if value.is_declaration)
    return tuple(sorted(name for name in names if not name.startswith("llvm.")))


def loaded(code: Code, function: Callable[..., None], layout: str) -> Any:
    """The NumPy ufunc of compiled code.

    Raises:
        Unsupported: If a symbol is missing, or names of numba are.
    """
    try:
        _provide(code.symbols)
        return _loaded(code, function, layout)
    except (AttributeError, ImportError, TypeError) as error:
        raise Unsupported(str(error)) from error


def _loaded(code: Code, function: Callable[..., None], layout: str) -> Any:
    """`loaded`, where any name may be missing."""
    from numba.np.ufunc import _internal  # type: ignore[attr-defined]
    from numba.np.ufunc.sigparse import parse_signature

    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.machine_code))
    engine.finalize_object()
    inputs, outputs = parse_signature(layout)
    return _internal.fromfunc(
        function.__name__,
        function.__doc__,
        [engine.get_function_address(code.loop)],
        [list(code.types)],
        len(inputs),
        len(outputs),
        [None],
        [engine],  # lives as long as the ufunc
        _internal.PyUFunc_None,
        layout,
        (),
    )


def _provide(symbols: tuple[str, ...]) -> None:
    """Have numba register what it offers to compiled code; the loader would end the process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if _missing(symbols):
        from numba.core.registry import cpu_target
        from numba.core.runtime import rtsys  # type: ignore[attr-defined]

        rtsys.initialize(cpu_target.target_context)
    if missing := _missing(symbols):
        raise Unsupported(f"no symbol {missing[0]}")


def _missing(symbols: tuple[str, ...]) -> list[str]:
    """The symbols that the loader would not find."""
    return [name for name in symbols if not llvm.address_of_symbol(name)]
