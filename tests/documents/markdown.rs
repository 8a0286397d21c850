//! Documents in Markdown: the blocks between fences, with the comment above each that says what a test does with it.
//!
//! A block of commands is `sh`, and a test runs it. `<!-- not run: WHY -->` right above it takes it out; its commands are
//! still held against the programs and scripts that they name. A block `text` right below a block of commands is what
//! these print. `<!-- file: NAME -->` says that a block stands in that file before the commands below it run.

/// What the comment above a block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark<'a> {
    /// No test runs it, for this reason.
    NotRun(&'a str),
    /// It is a file of this name.
    File(&'a str),
}

/// What stands between two fences.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    /// The line of the upper fence, from 1.
    pub(crate) line: usize,
    /// What stands behind the upper fence.
    pub(crate) kind: &'a str,
    pub(crate) mark: Option<Mark<'a>>,
    /// Its lines, each with its end.
    pub(crate) text: String,
    /// Whether nothing stands between it and the block above.
    pub(crate) is_below_block: bool,
}

impl Block<'_> {
    /// Whether a test has to run it.
    pub(crate) fn is_run(&self) -> bool {
        self.kind == "sh" && !matches!(self.mark, Some(Mark::NotRun(_)))
    }
}

const FENCE: &str = "```";

/// The blocks of a document, in their order. One without a lower fence goes on to the end.
pub(crate) fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().enumerate();
    let (mut mark, mut is_below_block) = (None, false);
    while let Some((number, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if let Some(kind) = line[indent..].strip_prefix(FENCE) {
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside = inside.take_while(|line| line.trim() != FENCE);
            let text = inside
                .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
                .collect();
            blocks.push(Block {
                line: number + 1,
                kind: kind.trim(),
                mark: mark.take(),
                text,
                is_below_block,
            });
            is_below_block = true;
        } else if !line.is_empty() {
            mark = mark_of(line);
            is_below_block = false;
        }
    }
    blocks
}

fn mark_of(line: &str) -> Option<Mark<'_>> {
    let comment = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    match comment.trim().split_once(':')? {
        ("not run", why) => Some(Mark::NotRun(why.trim())),
        ("file", name) => Some(Mark::File(name.trim())),
        _ => None,
    }
}
