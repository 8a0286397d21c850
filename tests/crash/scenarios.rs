//! What programs do until the power fails.
//!
//! Chunk 0 holds 3024 bytes and each further one 4048. A scenario of a new operation of the volume is one more entry here, with a step for it in [`crate::inprocess::steps`].

use envelopefs::format::volume_config::{KeyScope, NameMode};
use envelopefs::volume::Sharing;

use crate::inprocess::steps::Step::{self, *};
use crate::inprocess::volume::KEY;
use crate::inprocess::{INSIDE, LONG, OTHER};
use crate::run::Scenario;

const fn scenario(
    name: &'static str,
    before: &'static [Step],
    steps: &'static [Step],
) -> Scenario<'static> {
    Scenario {
        name,
        names: NameMode::Encrypted,
        scope: KeyScope::Volume,
        sharing: Sharing::Exclusive,
        before,
        steps,
        unmounts: false,
    }
}

/// Lines are added to an old log and a new one, some synced.
pub(crate) const APPENDED_LOG: Scenario<'_> = scenario(
    "appended log",
    &[Create("old"), Write("old", 0, 6_500, 1), Close("old")],
    &[
        Open("old"),
        Write("old", 6_500, 400, 2),
        SyncData("old"),
        Write("old", 6_900, 300, 3),
        Write("old", 7_200, 5_000, 4),
        Sync("old"),
        Create("new"),
        Write("new", 0, 900, 5),
        SyncData("new"),
        Write("new", 900, 900, 6),
        Write("new", 1_800, 900, 7),
        Write("new", 2_700, 900, 8),
        SyncData("new"),
        Write("new", 3_600, 900, 9),
        Write("old", 12_200, 100, 10),
        Write("new", 4_500, 9_000, 11),
        Sync("new"),
        Write("new", 13_500, 10, 12),
        Close("new"),
        Close("old"),
    ],
);

/// Pages in the midst of a file are rewritten, with a log beside it that is emptied after each commit.
pub(crate) const DATABASE: Scenario<'_> = scenario(
    "database rewriting pages",
    &[
        Create("data"),
        Write("data", 0, 40_000, 1),
        Close("data"),
        Create("journal"),
        Close("journal"),
    ],
    &[
        Open("data"),
        Open("journal"),
        Write("journal", 0, 8_200, 2),
        SyncData("journal"),
        Write("data", 4_096, 4_096, 3),
        Write("data", 20_480, 4_096, 4),
        SyncData("data"),
        Truncate("journal", 0),
        Write("journal", 0, 4_100, 5),
        SyncData("journal"),
        Write("data", 0, 4_096, 6),
        Write("data", 40_000, 4_096, 7),
        SyncData("data"),
        Truncate("journal", 0),
        Sync("journal"),
        Write("data", 8_192, 12_000, 8),
        Write("data", 8_192, 12_000, 9),
        Close("data"),
    ],
);

/// A document is saved by emptying it and writing it anew: without a sync, then with one.
pub(crate) const EMPTIED: Scenario<'_> = scenario(
    "O_TRUNC rewrite",
    &[
        Create("document"),
        Write("document", 0, 18_000, 1),
        Close("document"),
        Create("note"),
        Write("note", 0, 500, 2),
        Close("note"),
    ],
    &[
        TruncateByPath("document", 0),
        Open("document"),
        Write("document", 0, 9_000, 3),
        Close("document"),
        TruncateByPath("note", 0),
        Open("note"),
        Write("note", 0, 5_000, 4),
        Sync("note"),
        Close("note"),
        TruncateByPath("document", 0),
        Open("document"),
        Write("document", 0, 22_000, 5),
        SyncData("document"),
        Write("document", 100, 50, 6),
        Close("document"),
        TruncateByPath("note", 0),
        Open("note"),
        Write("note", 0, 200, 7),
        Close("note"),
    ],
);

/// A document is saved by writing a new file and renaming it over the old one: with syncs, and without.
pub(crate) const RENAME_OVER: Scenario<'_> = scenario(
    "rename over",
    &[
        Create("document"),
        Write("document", 0, 9_000, 1),
        Close("document"),
    ],
    &[
        Create("new"),
        Write("new", 0, 11_000, 2),
        Sync("new"),
        Close("new"),
        Rename("new", "document"),
        SyncFolder(""),
        Create("newer"),
        Write("newer", 0, 300, 3),
        Close("newer"),
        Rename("newer", "document"),
        Create("newest"),
        Write("newest", 0, 7_000, 4),
        SyncData("newest"),
        Rename("newest", "document"),
        Close("newest"),
        Unlink("document"),
        SyncFolder(""),
    ],
);

/// Folders are made, and they or files in them synced; folders move and take each other's place.
pub(crate) const NEW_FOLDERS: Scenario<'_> = scenario(
    "mkdir and fsync",
    &[
        Mkdir("old"),
        Mkdir("empty"),
        Create("old/f"),
        Write("old/f", 0, 10, 1),
        Close("old/f"),
    ],
    &[
        Mkdir("a"),
        SyncFolder(""),
        Create("a/f"),
        Write("a/f", 0, 5_000, 2),
        Sync("a/f"),
        Mkdir("a/b"),
        Mkdir("a/b/c"),
        Create("a/b/c/g"),
        Write("a/b/c/g", 0, 100, 3),
        SyncData("a/b/c/g"),
        Mkdir("d"),
        Create("d/h"),
        Write("d/h", 0, 10, 4),
        Open("old/f"),
        Write("old/f", 10, 10, 5),
        Sync("old/f"),
        SyncFolder("d"),
        Mkdir("d/e"),
    ],
);

/// Folders change their places, and go.
pub(crate) const MOVED_FOLDERS: Scenario<'_> = scenario(
    "folders moved and removed",
    &[
        Mkdir("a"),
        Create("a/f"),
        Write("a/f", 0, 5_000, 1),
        Close("a/f"),
        Mkdir("empty"),
        Mkdir("other"),
    ],
    &[
        Rename("a", "empty"),
        Mkdir("n"),
        Rename("empty", "n/a"),
        Create("n/a/g"),
        Write("n/a/g", 0, 50, 2),
        Sync("n/a/g"),
        Close("n/a/g"),
        Mkdir("n/gone"),
        Rmdir("n/gone"),
        Rename("n/a", "a"),
        SyncFolder(""),
        Rmdir("other"),
        Mkdir("other"),
        SyncFolder("other"),
        Unlink("a/g"),
        SyncFolder("a"),
        Rmdir("n"),
    ],
);

/// Growth by a write far behind the end, by truncate, and what is written into the gap later.
pub(crate) const GAPS: Scenario<'_> = scenario(
    "growth past a hole",
    &[
        Create("small"),
        Write("small", 0, 100, 1),
        Close("small"),
        Create("large"),
        Write("large", 0, 10_000, 2),
        Close("large"),
    ],
    &[
        Open("small"),
        Write("small", 30_000, 700, 3),
        SyncData("small"),
        Write("small", 12_000, 4_200, 4),
        Open("large"),
        Truncate("large", 50_000),
        Write("large", 20_000, 100, 5),
        Sync("large"),
        Write("large", 70_000, 100, 6),
        Write("large", 60_000, 9_000, 7),
        SyncData("large"),
        Truncate("small", 45_000),
        Write("small", 45_000, 5_000, 8),
        Close("small"),
        Close("large"),
    ],
);

/// Files are cut: within a chunk, at chunks, to nothing; and grow again.
pub(crate) const SHRINK: Scenario<'_> = scenario(
    "shrink",
    &[
        Create("f"),
        Write("f", 0, 32_000, 1),
        Close("f"),
        Create("g"),
        Write("g", 0, 2_000, 2),
        Close("g"),
    ],
    &[
        Open("f"),
        Truncate("f", 20_000),
        Write("f", 20_000, 6_000, 3),
        SyncData("f"),
        Truncate("f", 7_072),
        Write("f", 7_072, 5_000, 4),
        Truncate("f", 11_120),
        Sync("f"),
        Truncate("f", 1_000),
        Write("f", 1_000, 9_000, 5),
        SyncData("f"),
        Open("g"),
        Truncate("g", 500),
        Write("g", 500, 4_000, 6),
        Truncate("g", 3_024),
        Sync("g"),
        Truncate("g", 0),
        Truncate("f", 0),
        Write("f", 0, 3_500, 7),
        Close("f"),
    ],
);

/// Holes are punched into what is durable, and written to again.
pub(crate) const PUNCH: Scenario<'_> = scenario(
    "punch hole",
    &[Create("f"), Write("f", 0, 40_000, 1), Close("f")],
    &[
        Open("f"),
        Punch("f", 5_000, 14_000),
        Write("f", 9_000, 3_000, 2),
        SyncData("f"),
        Punch("f", 8_000, 20_000),
        Write("f", 16_000, 9_000, 3),
        Write("f", 40_000, 8_000, 4),
        Zero("f", 42_000, 5_000),
        Sync("f"),
        Punch("f", 0, 48_000),
        Write("f", 60_000, 1_000, 5),
        Punch("f", 45_000, 8_000),
        Truncate("f", 30_000),
        SyncData("f"),
        Write("f", 12_000, 9_000, 6),
        Truncate("f", 17_000),
        Close("f"),
    ],
);

/// Names that have a sidecar come, move, are exchanged and go.
pub(crate) const LONG_NAMES: Scenario<'_> = scenario(
    "long names",
    &[Create(LONG), Write(LONG, 0, 10, 1), Close(LONG)],
    &[
        Create(OTHER),
        Write(OTHER, 0, 5_000, 2),
        Sync(OTHER),
        Close(OTHER),
        Rename(LONG, "short"),
        Rename("short", LONG),
        SyncFolder(""),
        Rename(OTHER, LONG),
        Mkdir(OTHER),
        Rename(LONG, INSIDE),
        Open(INSIDE),
        Sync(INSIDE),
        Close(INSIDE),
        Symlink("target", LONG),
        Exchange(LONG, INSIDE),
        SyncFolder(OTHER),
        Link(LONG, "short"),
        Unlink(INSIDE),
        Rmdir(OTHER),
        Unlink(LONG),
        SyncFolder(""),
    ],
);

/// Hard links, symlinks, modes and attributes.
pub(crate) const ATTRIBUTES: Scenario<'_> = scenario(
    "links and attributes",
    &[Create("f"), Write("f", 0, 4_000, 1), Close("f"), Mkdir("d")],
    &[
        SetAttribute("f", "user.colour", "blue"),
        Chmod("f", 0o600),
        Link("f", "d/linked"),
        Open("f"),
        Sync("f"),
        SetAttribute("f", "user.colour", "green"),
        Symlink("f", "link"),
        SyncFolder(""),
        Rename("f", "d/f"),
        Mkfifo("fifo"),
        Unlink("d/linked"),
        RemoveAttribute("d/f", "user.colour"),
        SetAttribute("d", "user.kind", "folder"),
        SyncFolder("d"),
        Unlink("link"),
    ],
);

/// New files that nobody syncs; small ones, large ones, with holes.
pub(crate) const NEVER_SYNCED: Scenario<'_> = scenario(
    "never synced",
    &[Create("old"), Write("old", 0, 3_000, 1), Close("old")],
    &[
        Create("empty"),
        Close("empty"),
        Create("small"),
        Write("small", 0, 700, 2),
        Close("small"),
        Create("large"),
        Write("large", 0, 14_000, 3),
        Close("large"),
        Create("sparse"),
        Write("sparse", 20_000, 3_000, 4),
        Close("sparse"),
        Open("old"),
        Write("old", 3_000, 6_000, 5),
        Close("old"),
    ],
);

/// Files that were closed and never synced, then an unmount: few of them.
pub(crate) const UNMOUNT: Scenario<'_> = Scenario {
    unmounts: true,
    ..scenario(
        "unmount",
        &[Create("old"), Write("old", 0, 3_000, 1), Close("old")],
        &[
            Create("small"),
            Write("small", 0, 700, 2),
            Close("small"),
            Create("large"),
            Write("large", 0, 14_000, 3),
            Close("large"),
            Open("old"),
            Write("old", 2_000, 6_000, 5),
            Truncate("old", 5_000),
            Close("old"),
            Create("sparse"),
            Write("sparse", 20_000, 3_000, 4),
        ],
    )
};

/// As many as are committed together, after one `syncfs`.
pub(crate) const UNMOUNT_OF_MANY: Scenario<'_> = Scenario {
    unmounts: true,
    ..scenario(
        "unmount after many files",
        &[],
        &[
            Create("1"),
            Write("1", 0, 4_000, 1),
            Close("1"),
            Create("2"),
            Write("2", 0, 4_000, 2),
            Close("2"),
            Create("3"),
            Write("3", 0, 4_000, 3),
            Close("3"),
            Create("4"),
            Write("4", 0, 4_000, 4),
            Close("4"),
            Create("5"),
            Write("5", 0, 4_000, 5),
            Close("5"),
            Create("6"),
            Write("6", 0, 4_000, 6),
            Close("6"),
            Create("7"),
            Write("7", 0, 4_000, 7),
            Close("7"),
            Create("8"),
            Write("8", 0, 4_000, 8),
            Close("8"),
            Create("9"),
            Write("9", 0, 4_000, 9),
            Close("9"),
        ],
    )
};

/// Keys get new versions, come and go while files are written: small ones that are one page with their header, large ones,
/// open ones and closed ones.
pub(crate) const CHANGED_KEYS: Scenario<'_> = Scenario {
    scope: KeyScope::File,
    ..scenario(
        "keys changed",
        &[
            Mkdir("d"),
            Create("d/small"),
            Write("d/small", 0, 700, 1),
            Close("d/small"),
            Create("large"),
            Write("large", 0, 20_000, 2),
            Close("large"),
            Create("open"),
            Write("open", 0, 9_000, 3),
            Close("open"),
        ],
        &[
            Open("open"),
            Write("open", 9_000, 3_000, 4),
            RotateKeys,
            Write("open", 100, 50, 5),
            Create("new"),
            Write("new", 0, 400, 6),
            SyncData("open"),
            AddKey("second"),
            Write("open", 12_000, 5_000, 7),
            Sync("new"),
            Truncate("open", 8_000),
            RemoveKey(KEY),
            Write("open", 8_000, 100, 8),
            SyncData("open"),
            Close("open"),
            RotateKeys,
            Close("new"),
        ],
    )
};

/// Nothing yet.
pub(crate) const fn empty() -> Scenario<'static> {
    scenario("empty", &[], &[])
}
