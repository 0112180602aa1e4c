//! A script: bytes, read as small numbers, runs of bytes and texts. One that has ended reads as zeros.

/// Reads a script from its front.
#[derive(Clone)]
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    /// One of a few.
    pub(super) fn choose<T: Copy>(&mut self, among: &[T]) -> T {
        among[usize::from(self.byte()) % among.len()]
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Bytes, their number first, at most 255.
    pub(super) fn run(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (run, rest) = self.0.split_at(len);
        self.0 = rest;
        run
    }

    /// The same as text, up to the first byte that is none.
    pub(super) fn text(&mut self) -> &'a str {
        let run = self.run();
        match std::str::from_utf8(run) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&run[..error.valid_up_to()]).unwrap_or_default(),
        }
    }
}
