//! What programs do while faults strike.

use crate::inprocess::steps::Step::{self, *};
use crate::inprocess::{INSIDE, LONG, OTHER};

/// A row of steps, done in a volume that holds what `before` made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) before: &'static [Step],
    pub(crate) steps: &'static [Step],
}

/// Content: written, overwritten, cut, grown, punched, copied, synced.
pub(crate) const FILES: Scenario = Scenario {
    name: "files",
    before: &[Create("old"), Write("old", 0, 20_000, 1), Close("old")],
    steps: &[
        Create("small"),
        Write("small", 0, 100, 2),
        Close("small"),
        Create("large"),
        Write("large", 0, 30_000, 3),
        Sync("large"),
        Write("large", 5_000, 9_000, 4),
        Write("large", 30_000, 1, 5),
        SyncData("large"),
        Truncate("large", 12_345),
        Truncate("large", 40_000),
        Write("large", 60_000, 5_000, 6),
        Punch("large", 4_000, 20_000),
        Zero("large", 1_000, 9_000),
        Allocate("large", 70_000, 9_000),
        Seek("large"),
        Read("large"),
        Copy("large", "large", 0, 10_000, 41_000),
        Sync("large"),
        Close("large"),
        Open("old"),
        Write("old", 10, 10, 7),
        Read("old"),
        Truncate("old", 0),
        Write("old", 0, 9_000, 8),
        Close("old"),
        TruncateByPath("old", 4_500),
        TruncateByPath("small", 4_500),
        LookAround,
    ],
};

/// Names: folders made, filled, moved, removed; links; attributes.
pub(crate) const FOLDERS: Scenario = Scenario {
    name: "folders",
    before: &[
        Mkdir("a"),
        Create("a/f"),
        Write("a/f", 0, 5_000, 1),
        Close("a/f"),
        Mkdir("empty"),
    ],
    steps: &[
        Mkdir("b"),
        Mkdir("b/c"),
        Create("b/c/g"),
        Write("b/c/g", 0, 10, 2),
        Close("b/c/g"),
        SyncFolder("b"),
        Link("b/c/g", "a/linked"),
        Symlink("a/linked", "l"),
        Mkfifo("fifo"),
        Rename("b/c", "a/c"),
        Rename("b", "empty"),
        Rename("a/linked", "a/f"),
        Exchange("a", "empty"),
        Chmod("empty/f", 0o600),
        Touch("empty/f"),
        SetAttribute("empty/f", "user.colour", "blue"),
        SetAttribute("empty", "user.colour", "green"),
        RemoveAttribute("empty/f", "user.colour"),
        LookAround,
        StatFs,
        Unlink("l"),
        Unlink("fifo"),
        Unlink("empty/f"),
        Mkdir("d"),
        Rmdir("d"),
        LookAround,
    ],
};

/// Names that need a sidecar.
pub(crate) const NAMES: Scenario = Scenario {
    name: "long names",
    before: &[Create(LONG), Write(LONG, 0, 10, 1), Close(LONG)],
    steps: &[
        Create(OTHER),
        Write(OTHER, 0, 5_000, 2),
        Close(OTHER),
        Rename(LONG, "short"),
        Rename("short", LONG),
        Rename(OTHER, LONG),
        Mkdir(OTHER),
        Rename(LONG, INSIDE),
        Symlink("target", LONG),
        Exchange(LONG, INSIDE),
        LookAround,
        Link(LONG, "short"),
        Unlink(INSIDE),
        Rmdir(OTHER),
        Unlink(LONG),
        LookAround,
    ],
};

/// Files of an earlier mount: found, opened, read, changed.
pub(crate) const OPENING: Scenario = Scenario {
    name: "opening",
    before: &[
        Create("one"),
        Write("one", 0, 100, 1),
        Close("one"),
        Create("many"),
        Write("many", 0, 50_000, 2),
        Write("many", 90_000, 10, 3),
        Close("many"),
        Create("empty"),
        Close("empty"),
        SetAttribute("one", "user.a", "1"),
        Symlink("one", "link"),
    ],
    steps: &[
        LookAround,
        Open("many"),
        Read("many"),
        Open("one"),
        Write("one", 50, 100, 4),
        Open("empty"),
        Write("empty", 0, 1, 5),
        Close("empty"),
        Close("one"),
        Unlink("one"),
        Seek("many"),
        Write("many", 49_000, 30_000, 6),
        Close("many"),
        Unlink("many"),
        LookAround,
    ],
};
