//! One picture, drawn by ratatui: on the terminal, or into text.

use std::io::{self, Read as _, Stdout};
use std::time::Duration;

use ratatui::backend::{TermionBackend, TestBackend};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::termion::raw::{IntoRawMode as _, RawTerminal};
use ratatui::termion::screen::{AlternateScreen, IntoAlternateScreen as _};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::view::{ProviderView, UserView, View};
use crate::cli::output::harmless;

/// What the one who watches asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    End,
    Nothing,
    /// So many mounts on, or back.
    Step(isize),
}

/// The terminal; given back as it was when this is dropped.
pub(super) struct Screen(Terminal<TermionBackend<AlternateScreen<RawTerminal<Stdout>>>>);

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let out = io::stdout().into_raw_mode()?.into_alternate_screen()?;
        let mut terminal = Terminal::new(TermionBackend::new(out))?;
        terminal.hide_cursor()?;
        Ok(Self(terminal))
    }

    pub(super) fn draw(&mut self, view: &View) -> io::Result<()> {
        self.0.draw(|frame| draw(frame, view)).map(drop)
    }

    /// Waits for a key, for so long at most.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<Asked> {
        let timeout = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(1),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let stdin = io::stdin();
        let ready = rustix::event::poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout));
        match ready {
            // A window of another size, most likely: drawn anew.
            Err(rustix::io::Errno::INTR) | Ok(0) => return Ok(Asked::Nothing),
            ready => drop(ready?),
        }
        let mut keys = [0; 64];
        let len = stdin.lock().read(&mut keys)?;
        Ok(meaning(keys.get(..len).unwrap_or_default()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What else was changed is given back by the parts themselves.
        drop(self.0.show_cursor());
    }
}

/// Of keys as a terminal in raw mode sends them; nothing at all is its end.
fn meaning(keys: &[u8]) -> Asked {
    match keys {
        [] | [b'q' | b'Q' | 3 | 4, ..] | [27] => Asked::End,
        [b'n' | b'\t', ..] | [27, b'[', b'C', ..] => Asked::Step(1),
        [b'p', ..] | [27, b'[', b'D', ..] => Asked::Step(-1),
        _ => Asked::Nothing,
    }
}

/// The same picture as text, as wide and as high as it needs.
pub(super) fn text(view: &View) -> String {
    let height = [
        HEAD,
        rows_of(view.operations.len()),
        rows_of(view.providers.len()),
        rows_of(view.users.len()),
    ];
    let mut terminal = match Terminal::new(TestBackend::new(WIDTH, height.iter().sum())) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| draw(frame, view)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width.max(1));
    let lines = buffer.content.chunks(width).map(|cells| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

const WIDTH: u16 = 110;
/// The head's lines, and its frame.
const HEAD: u16 = 6;

/// Of a table with so many rows: with its frame and the names of its columns.
fn rows_of(count: usize) -> u16 {
    u16::try_from(count.max(1))
        .unwrap_or(u16::MAX)
        .saturating_add(3)
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let areas = Layout::vertical([
        Constraint::Length(HEAD),
        Constraint::Length(rows_of(view.operations.len()).min(12)),
        Constraint::Length(rows_of(view.providers.len()).min(8)),
        Constraint::Min(4),
    ]);
    let areas: [Rect; 4] = match frame.area().height >= 40 || frame.area().width == WIDTH {
        true => Layout::vertical([
            Constraint::Length(HEAD),
            Constraint::Length(rows_of(view.operations.len())),
            Constraint::Length(rows_of(view.providers.len())),
            Constraint::Min(4),
        ])
        .areas(frame.area()),
        false => areas.areas(frame.area()),
    };
    let [head, operations, providers, users] = areas;
    frame.render_widget(head_of(view), head);
    frame.render_widget(operations_of(view), operations);
    frame.render_widget(providers_of(&view.providers), providers);
    frame.render_widget(users_of(&view.users), users);
}

fn framed(title: &str) -> Block<'_> {
    Block::new()
        .borders(Borders::TOP)
        .title(format!(" {title} "))
}

fn head_of(view: &View) -> Paragraph<'_> {
    let status = &view.status;
    let keys = match status.locked.as_str() {
        "" => format!("{} data keys in memory", status.keyring.entries),
        why => format!("LOCKED ({why})"),
    };
    let hits = view.keyring_hits.map_or_else(
        || "no opens".to_owned(),
        |share| format!("{:.0} % of opens", share * 100.0),
    );
    let lines = [
        format!(
            "read {:>12}/s   written {:>12}/s   requests {:>8.0}/s",
            bytes(view.read),
            bytes(view.written),
            view.all_operations()
        ),
        format!(
            "keyring hits {hits}; {keys}, {} evicted",
            status.keyring.evictions
        ),
        format!(
            "{} files open, {} inodes, {} integrity failures, {} denied",
            status.open_files, status.inodes, status.integrity_failures, status.denied
        ),
        format!(
            "process {}, {} by {}",
            status.pid,
            harmless(&status.cipherdir),
            status.transport
        ),
    ];
    let title = format!("{}  (q ends, n next mount)", harmless(&status.mountpoint));
    Paragraph::new(lines.join("\n")).block(
        Block::new()
            .borders(Borders::TOP)
            .title(format!(" {title} ")),
    )
}

fn table<'a, const N: usize>(
    title: &'a str,
    names: [&'static str; N],
    widths: [Constraint; N],
    rows: Vec<[String; N]>,
) -> Table<'a> {
    let names = Row::new(names).style(Style::new().add_modifier(Modifier::BOLD));
    Table::new(rows.into_iter().map(Row::new), widths)
        .header(names)
        .block(framed(title))
}

fn operations_of(view: &View) -> Table<'_> {
    let rows = view
        .operations
        .iter()
        .map(|(name, rate)| [name.clone(), format!("{rate:>10.1}")]);
    let widths = [Constraint::Length(20), Constraint::Length(12)];
    table("requests", ["kind", "each second"], widths, rows.collect())
}

fn providers_of(providers: &[ProviderView]) -> Table<'_> {
    let rows = providers.iter().map(|provider| {
        [
            harmless(provider.uri.split('?').next().unwrap_or_default()),
            provider.state.clone(),
            format!("{:>8.1}", provider.calls),
            show(provider.mean),
            show(provider.nine_of_ten),
            provider.failures.to_string(),
        ]
    });
    let widths = [
        Constraint::Min(30),
        Constraint::Length(14),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
    ];
    let names = [
        "key provider",
        "state",
        "calls/s",
        "mean",
        "90 % below",
        "failed",
    ];
    table("key providers", names, widths, rows.collect())
}

fn users_of(users: &[UserView]) -> Table<'_> {
    let rows = users.iter().map(
        |UserView {
             user,
             read,
             written,
         }| {
            [
                user.pid.to_string(),
                user.uid.to_string(),
                user.open_files.to_string(),
                format!("{:>12}/s", bytes(*read)),
                format!("{:>12}/s", bytes(*written)),
                match user.exe.as_str() {
                    "" => "(gone)".to_owned(),
                    exe => harmless(exe),
                },
            ]
        },
    );
    let widths = [
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Length(15),
        Constraint::Length(15),
        Constraint::Min(20),
    ];
    let names = ["process", "user", "files", "reads", "writes", "program"];
    table("who reads and writes", names, widths, rows.collect())
}

fn show(time: Option<Duration>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < Duration::from_millis(1) => format!("{} us", time.as_micros()),
        Some(time) if time < Duration::from_secs(1) => {
            format!("{:.1} ms", time.as_secs_f64() * 1e3)
        }
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
    }
}

fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut left = count;
    for unit in UNITS {
        if left < 1024.0 {
            return format!("{left:.1} {unit}");
        }
        left /= 1024.0;
    }
    format!("{left:.1} PiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cmd::top::view::tests::view;

    #[test]
    fn the_text_shows_each_part() {
        let text = text(&view());
        for part in [
            " /m ",
            "requests       50/s",
            "75 % of opens",
            "      50.0",
            "file:///k",
            "2.0 ms",
            "/bin/tar",
            "2.0 KiB/s",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_is_drawn_on_all_the_same() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &view())).unwrap();
        }
    }

    #[test]
    fn keys_mean_what_the_help_says() {
        for keys in [&b"q"[..], b"Q", b"\x1b", b"\x03", b""] {
            assert_eq!(meaning(keys), Asked::End, "{keys:?}");
        }
        assert_eq!(meaning(b"n"), Asked::Step(1));
        assert_eq!(meaning(b"p"), Asked::Step(-1));
        for keys in [&b"x"[..], b"\x1b[A", b"\x1bq"] {
            assert_eq!(meaning(keys), Asked::Nothing, "{keys:?}");
        }
    }

    #[test]
    fn figures_are_short() {
        let shown: Vec<_> = [0.0, 1023.0, 1536.0, 3e9].map(bytes).into();
        assert_eq!(shown, ["0.0 B", "1023.0 B", "1.5 KiB", "2.8 GiB"]);
        assert_eq!(show(Some(Duration::from_micros(1500))), "1.5 ms");
        assert_eq!(show(None), "-");
    }
}
