//! The allocator of the process: mimalloc, and pages of the operating system's own for large blocks.
//!
//! The problem: a statement may hold hundreds of megabytes for a moment (a value that doubles, a hash table, the writes of
//! a transaction). mimalloc keeps what is freed for ten seconds, and a block that another thread has freed until its own
//! thread looks: the process held twice what its statements were allowed. The idea: a block of [`LARGE`] bytes or more is
//! a mapping of its own: freeing it unmaps it, and `realloc` moves its pages instead of copying them.
//!
//! Clearing fresh pages costs about what writing them costs, so smaller blocks, which come and go often, stay with
//! mimalloc. What RocksDB allocates does not pass through here.

use std::{
    alloc::{GlobalAlloc, Layout},
    ptr,
};

use mimalloc::MiMalloc;

/// Blocks of this size or more are mappings of their own.
const LARGE: usize = 32 << 20;

pub struct Allocator;

/// Whether a block is a mapping. It follows from the layout alone: `dealloc` is given nothing else. Mappings begin at a page.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= 4096
}

/// Zeroed pages; null where there are none.
fn map(bytes: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a mapping of its own, at an address that the kernel chooses.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() }
}

// SAFETY: a block is given back to whom it was taken from, as `is_large` answers the same for the same layout.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller's.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller's.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: `block` is a whole mapping, and the caller gives it up.
            unsafe { libc::munmap(block.cast(), layout.size()) };
            return;
        }
        // SAFETY: the caller's.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that makes a layout.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (is_large(layout), is_large(new)) {
            // SAFETY: the caller's.
            (false, false) => unsafe { MiMalloc.realloc(block, layout, new_size) },
            (true, true) => {
                // SAFETY: the whole of a mapping; its pages may move.
                let at = unsafe { libc::mremap(block.cast(), layout.size(), new_size, libc::MREMAP_MAYMOVE) };
                if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() }
            }
            _ => {
                // SAFETY: two blocks, each of its own layout; the old one goes when its bytes are in the new one.
                unsafe {
                    let at = self.alloc(new);
                    if !at.is_null() {
                        ptr::copy_nonoverlapping(block, at, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                    at
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks cross the border in both directions and keep their bytes.
    #[test]
    fn blocks_grow_and_shrink_across_the_border() {
        let layout = Layout::from_size_align(LARGE - 4096, 8).unwrap();
        // SAFETY: one block, within its layouts.
        unsafe {
            let mut block = Allocator.alloc(layout);
            assert!(!block.is_null());
            block.write(7);
            block.add(LARGE - 5000).write(9);
            let mut size = layout.size();
            for new in [LARGE, 3 * LARGE + 1, 2 * LARGE, LARGE + 12345, LARGE - 4096, 2 * LARGE] {
                block = Allocator.realloc(block, Layout::from_size_align(size, 8).unwrap(), new);
                assert!(!block.is_null());
                assert_eq!((block.read(), block.add(LARGE - 5000).read()), (7, 9), "{new}");
                block.add(new - 1).write(1);
                size = new;
            }
            Allocator.dealloc(block, Layout::from_size_align(size, 8).unwrap());
        }
    }

    #[test]
    fn large_blocks_begin_as_zeros() {
        let layout = Layout::from_size_align(LARGE + 1, 16).unwrap();
        // SAFETY: one block, within its layout.
        unsafe {
            let block = Allocator.alloc_zeroed(layout);
            assert_eq!((block.read(), block.add(LARGE).read()), (0, 0));
            Allocator.dealloc(block, layout);
        }
    }

    /// What a page cannot be the beginning of stays with mimalloc.
    #[test]
    fn wide_alignments_are_kept() {
        let layout = Layout::from_size_align(LARGE, 1 << 16).unwrap();
        // SAFETY: one block, within its layout.
        unsafe {
            let block = Allocator.alloc(layout);
            assert_eq!(block.addr() % (1 << 16), 0);
            Allocator.dealloc(block, layout);
        }
    }
}
