//! Pages whose commands run, in their order, and print what stands below them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::{
    children_of, clear_mounts_below, folder_of, is_running, kill, program, require_fuse, run,
    set_mode, wait_until,
};
use crate::markdown::{Mark, blocks};

/// The home of a page's reader, as pages name it.
const ADA: &str = "/home/ada";

/// A page, and what its reader has before he begins.
pub(crate) struct Page {
    text: &'static str,
    before: &'static str,
    ports: &'static [&'static str],
    tools: &'static [(&'static str, &'static str)],
}

impl Page {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text,
            before: "",
            ports: &[],
            tools: &[],
        }
    }

    /// Commands that come before those of the page.
    pub(crate) fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    /// The ports that servers of the page listen on: others take their places, as many may be running.
    pub(crate) fn ports(self, ports: &'static [&'static str]) -> Self {
        Self { ports, ..self }
    }

    /// Programs of PyPI, each with its package.
    pub(crate) fn tools(self, tools: &'static [(&'static str, &'static str)]) -> Self {
        Self { tools, ..self }
    }

    /// Does what the page says, and sees that it prints what the page says.
    pub(crate) fn follow(self) -> Reader {
        let reader = Reader::new(&self);
        reader.run(self.before);
        let page = reader.with_ports(self.text);
        let mut printed: Option<String> = None;
        for block in blocks(&page) {
            if let Some(Mark::File(name)) = block.mark {
                fs::write(reader.path(name), &block.text).unwrap();
            }
            let shown = block.is_below_block && block.kind == "text";
            match printed.take().filter(|_| shown) {
                Some(printed) => assert_prints(block.line, &block.text, &printed),
                None if block.is_run() => printed = Some(reader.run(&block.text)),
                None => {}
            }
        }
        reader
    }
}

/// Who follows a page, in a home of his own. Servers that he started, and said so in a file `pid` or `….pid`, end with him,
/// and what he mounted is unmounted.
pub(crate) struct Reader {
    home: tempfile::TempDir,
    ports: Vec<(&'static str, String)>,
    path: String,
}

impl Reader {
    fn new(page: &Page) -> Self {
        require_fuse();
        let home = tempfile::tempdir().unwrap();
        for folder in [home.path().to_owned(), home.path().join("run")] {
            fs::create_dir_all(&folder).unwrap();
            set_mode(&folder, 0o700);
        }
        let free = free_ports(page.ports.len());
        let ports = page.ports.iter().copied().zip(free).collect();
        let tools = page
            .tools
            .iter()
            .map(|(tool, package)| folder_of(tool, package));
        let mut folders: Vec<_> = tools.collect();
        folders.push(program().parent().unwrap().to_owned());
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        let path = std::env::join_paths(folders)
            .unwrap()
            .into_string()
            .unwrap();
        Self { home, ports, path }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    /// What a page has, with this reader's ports.
    pub(crate) fn with_ports(&self, text: &str) -> String {
        let put = |text: String, (port, own): &(&str, String)| text.replace(port, own);
        self.ports.iter().fold(text.to_owned(), put)
    }

    /// A command in this reader's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.home())
            .env("HOME", self.home())
            .env("LC_ALL", "C")
            .env("PATH", &self.path)
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("ENVELOPEFS_CONFIG")
            .env_remove("ENVELOPEFS_LOG");
        command
    }

    pub(crate) fn envelopefs(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(program().to_str().unwrap());
        command.args(arguments);
        command
    }

    /// Everything that a script prints, with the home under the name that it has in pages.
    pub(crate) fn run(&self, script: &str) -> String {
        let mut bash = self.command("bash");
        bash.args(["-euo", "pipefail", "-c", &self.with_ports(script)]);
        run(&mut bash).replace(&self.home().display().to_string(), ADA)
    }

    /// Ends the servers, and what they have started: PyKMIP's leaves a process behind otherwise.
    pub(crate) fn stop_servers(&self) {
        for file in self.pid_files() {
            let Ok(pid) = fs::read_to_string(&file).unwrap().trim().parse() else {
                continue;
            };
            let children = children_of(pid);
            for pid in std::iter::once(pid).chain(children) {
                kill(pid);
                wait_until("a server to end", || !is_running(pid));
            }
            fs::remove_file(file).unwrap();
        }
    }

    fn pid_files(&self) -> Vec<PathBuf> {
        let entries = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let mut files = entries(self.home());
        for folder in files.clone() {
            files.extend(entries(&folder));
        }
        let is_pid = |file: &PathBuf| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            name == "pid" || name.ends_with(".pid")
        };
        files.into_iter().filter(is_pid).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Mounts first: a look into one whose server is gone could wait for long.
        clear_mounts_below(self.home());
        self.stop_servers();
    }
}

/// So many ports, one after the other, that nobody listens on. Below those that the kernel gives out by itself, of which one
/// may be gone before a server asks for it.
pub(crate) fn free_ports(count: usize) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = 20_000 + u16::try_from(now.subsec_micros() % 6_000).unwrap() * 2;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let row = |first: u16| (first..).take(count).collect::<Vec<_>>();
    let mut rows = (first..32_700).step_by(2).map(row);
    let row = rows.find(|row| row.iter().all(is_free)).unwrap();
    row.iter().map(u16::to_string).collect()
}

/// A line without what differs from run to run: ids, sealed names, paths, and memory that the machine grants.
fn normal(line: &str) -> String {
    let word = |word: &str| {
        let is_hex = word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            "ID".to_owned()
        } else {
            without_sealed_names(word)
        }
    };
    let words: Vec<_> = line.split_whitespace().map(word).collect();
    let text = words.join(" ");
    match text.split_once("locked memory") {
        Some((before, _granted)) => format!("{before}locked memory"),
        None => text,
    }
}

fn without_sealed_names(path: &str) -> String {
    let is_sealed = |part: &&str| {
        let sealed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        part.len() >= 20 && part.trim_end_matches(':').bytes().all(sealed)
    };
    let part = |part: &str| {
        if is_sealed(&part) && part.ends_with(':') {
            "NAME:".to_owned()
        } else if is_sealed(&part) {
            "NAME".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Whether a line is as the document has it, where `…` stands for anything.
fn is_as_shown(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || shown.ends_with('…')
}

/// That lines that a page has, from one of its own on, are among those that were printed.
fn assert_prints(at: usize, expected: &str, printed: &str) {
    let printed: Vec<_> = printed.lines().map(normal).collect();
    let mut rest = printed.iter();
    for line in expected.lines().filter(|line| line.trim() != "…") {
        let line = normal(line);
        assert!(
            rest.any(|printed| is_as_shown(&line, printed)),
            "line {at} of the page shows\n  {line}\nand this was printed:\n  {}",
            printed.join("\n  ")
        );
    }
}

#[test]
fn a_page_that_says_something_else_is_found_out() {
    let printed = "2 folders, 1 file\n/home/ada/secrets.enc/9MWzrD7i9sAquwM3INuW9v9flod-k-U3\n";
    for right in [
        "/home/ada/secrets.enc/AAAAAAAAAAAAAAAAAAAAAAAA",
        "2 folders, …\n…\n/home/ada/…",
    ] {
        assert_prints(1, right, printed);
    }
    for wrong in [
        "3 folders, 1 file",
        "2 folders",
        "… folders, 2 files",
        "…\n/home/bob/…",
        "/home/ada/elsewhere/AAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let result = std::panic::catch_unwind(|| assert_prints(1, wrong, printed));
        assert!(result.is_err(), "{wrong}");
    }
}

#[test]
fn a_page_whose_command_fails_or_prints_something_else_is_found_out() {
    for wrong in [
        "```sh\nfalse\n```\n",
        "```sh\necho one\n```\n\n```text\ntwo\n```\n",
        "<!-- file: note -->\n```toml\na = 1\n```\n```sh\ncat note\n```\n```text\na = 2\n```\n",
    ] {
        let result = std::panic::catch_unwind(|| drop(Page::new(wrong).follow()));
        assert!(result.is_err(), "{wrong}");
    }
    let right = "<!-- file: note -->\n```toml\na = 1\n```\n```sh\ncat note\n```\n```text\na = 1\n```\n\
        <!-- not run: it would fail -->\n```sh\nfalse\n```\n";
    drop(Page::new(right).follow());
}
