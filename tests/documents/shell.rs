//! Scripts of the shell, as far as it takes to see which commands they call with which words.

/// The words of one command, without quotes, redirections and the words of the shell itself. What the shell would put in
/// (`$HOME`, `$(…)`) stands as it was written.
pub(crate) type Command = Vec<String>;

/// The commands of a script, those within `$(…)` among them, but for those of quoted text and here-documents.
pub(crate) fn commands(script: &str) -> Vec<Command> {
    let mut reader = Reader {
        rest: script,
        commands: Vec::new(),
        command: Vec::new(),
        word: None,
        here: Vec::new(),
    };
    while reader.step() {}
    reader.end_command();
    reader.commands
}

struct Reader<'a> {
    rest: &'a str,
    commands: Vec<Command>,
    command: Command,
    word: Option<String>,
    /// The ends of here-documents that begin with the next line.
    here: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Takes the next character, and what belongs to it; false at the end.
    fn step(&mut self) -> bool {
        let Some(next) = self.next() else {
            return false;
        };
        match next {
            '\'' => {
                let quoted = self.until('\'');
                self.add(quoted);
            }
            '"' => self.double_quoted(),
            '\\' => match self.next() {
                Some('\n') | None => {}
                Some(other) => self.add(&other.to_string()),
            },
            '$' if self.rest.starts_with('(') => self.substitution(),
            '#' if self.word.is_none() => {
                self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
            }
            '\n' => {
                self.end_command();
                self.skip_here_documents();
            }
            ';' | '&' | '|' | '(' | ')' => self.end_command(),
            '<' | '>' => self.redirection(next),
            _ if next.is_whitespace() => self.end_word(),
            _ => self.add(&next.to_string()),
        }
        true
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// What stands before the next `end`, which is taken too.
    fn until(&mut self, end: char) -> &'a str {
        let (before, after) = self.rest.split_once(end).unwrap_or((self.rest, ""));
        self.rest = after;
        before
    }

    fn add(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        self.command.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        let command = std::mem::take(&mut self.command);
        let own = |word: &String| is_of_the_shell(word);
        let command: Command = command.into_iter().skip_while(own).collect();
        if !command.is_empty() {
            self.commands.push(command);
        }
    }

    fn double_quoted(&mut self) {
        self.add("");
        while let Some(next) = self.next() {
            match next {
                '"' => return,
                '\\' => {
                    let escaped = self.next().unwrap_or_default();
                    self.add(&escaped.to_string());
                }
                '$' if self.rest.starts_with('(') => self.substitution(),
                _ => self.add(&next.to_string()),
            }
        }
    }

    /// Behind a `$` that a parenthesis follows: commands of their own, up to the one that closes it.
    fn substitution(&mut self) {
        let mut depth = 0_usize;
        let end = self.rest.find(|next| {
            match next {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let (inside, after) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.commands.extend(commands(&inside[1..]));
        self.add("$(…)");
        self.rest = after.get(1..).unwrap_or_default();
    }

    /// Behind `<` or `>`: where to, which is no word of the command.
    fn redirection(&mut self, first: char) {
        // The number in front of it is a part of it.
        self.word = self.word.take().filter(|word| word.parse::<u8>().is_err());
        self.end_word();
        let is_here = first == '<' && self.rest.starts_with('<');
        self.rest = self.rest.trim_start_matches(['<', '>', '&', '-', ' ']);
        let end = self
            .rest
            .find(|next: char| next.is_whitespace() || ";|)&".contains(next));
        let (target, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if is_here {
            self.here.push(target.trim_matches(['\'', '"']).to_owned());
        }
    }

    fn skip_here_documents(&mut self) {
        for end in std::mem::take(&mut self.here) {
            while !self.rest.is_empty() && self.until('\n') != end {}
        }
    }
}

/// Whether a word in front of a command is the shell's own, or sets a variable.
fn is_of_the_shell(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "if", "then", "else", "elif", "fi", "do", "done", "until", "while", "!", "{", "}",
    ];
    let is_name = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    WORDS.contains(&word) || word.split_once('=').is_some_and(|(name, _)| is_name(name))
}
