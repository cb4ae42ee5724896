//! The `weir` binary: everything lives in the library.

/// Many small allocations that live as long as a request, made and freed on the same thread: the case that it is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    weir::run(|_| {})
}
