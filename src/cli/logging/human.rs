//! An event as one line of text.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::journal;
use super::sink::Sink;

/// `TIME LEVEL span: message key=value`, with time and colours where the sink wants them.
#[derive(Debug)]
pub(super) struct HumanFormat {
    sink: Sink,
}

impl HumanFormat {
    pub(super) fn new(sink: Sink) -> Self {
        Self { sink }
    }
}

impl<S, N> FormatEvent<S, N> for HumanFormat
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let style = self.sink.style();
        if style.entry {
            let (mut text, mut line) = (String::new(), String::new());
            write_spans(context, &mut text)?;
            context.format_fields(Writer::new(&mut text), event)?;
            write_plain(&mut Writer::new(&mut line), &text)?;
            return writer.write_str(&journal::entry(event, &line));
        }
        if style.time {
            SystemTime.format_time(&mut writer)?;
            writer.write_char(' ')?;
        }
        write_level(&mut writer, *event.metadata().level(), style.colours)?;
        let mut text = String::new();
        write_spans(context, &mut text)?;
        context.format_fields(Writer::new(&mut text), event)?;
        write_plain(&mut writer, &text)?;
        writer.write_char('\n')
    }
}

fn write_level(writer: &mut Writer<'_>, level: Level, colours: bool) -> fmt::Result {
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    if colours {
        write!(writer, "\x1b[{colour}m{level:>5}\x1b[0m ")
    } else {
        write!(writer, "{level:>5} ")
    }
}

fn write_spans<S, N>(context: &FmtContext<'_, S, N>, text: &mut String) -> fmt::Result
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    for span in context
        .event_scope()
        .into_iter()
        .flat_map(|scope| scope.from_root())
    {
        text.push_str(span.name());
        if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
            && !fields.is_empty()
        {
            text.push('{');
            text.push_str(fields);
            text.push('}');
        }
        text.push_str(": ");
    }
    Ok(())
}

/// Control characters are written out: file names are whatever somebody chose, and a newline in
/// one must not start a line that this program never wrote.
fn write_plain(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    for next in text.chars() {
        if next.is_control() {
            write!(writer, "{}", next.escape_default())?;
        } else {
            writer.write_char(next)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        let mut text = String::new();
        write_plain(&mut Writer::new(&mut text), "a\nb\x1b[2J\u{9b}é").unwrap();
        assert_eq!(text, r"a\nb\u{1b}[2J\u{9b}é");
    }

    #[test]
    fn levels_are_coloured_on_demand() {
        let shown = |colours| {
            let mut text = String::new();
            write_level(&mut Writer::new(&mut text), Level::WARN, colours).unwrap();
            text
        };
        assert_eq!(shown(false), " WARN ");
        assert_eq!(shown(true), "\x1b[33m WARN\x1b[0m ");
    }
}
