//! `docker top`: the processes of a container, as the host's `ps` shows them.
//!
//! `ps` gets the arguments word by word and no shell. Which processes are the container's is known
//! from its control group; that they are asked for by number only saves `ps` work, so what it
//! prints is still looked through.

use std::process::Stdio;
use std::time::Duration;

use berth_cgroups::Host;
use berth_wire as wire;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::container::handle::View;
use crate::container::record::Status;
use crate::shared::blocking;
use crate::{Error, Result};

/// What `ps` is asked for when the client says nothing.
const DEFAULT: &str = "-ef";
/// How long `ps` may take: on a host with very many processes it takes seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest output that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// The processes of a container.
///
/// # Errors
/// It does not run, or `ps` does not do what is asked.
pub(crate) async fn top(
    host: &std::sync::Arc<Host>,
    view: &View,
    asked: &str,
) -> Result<wire::TopResponse> {
    let asked = if asked.is_empty() { DEFAULT } else { asked };
    check(asked)?;
    let id = view.record.id.clone();
    if view.run.status == Status::Restarting {
        return Err(Error::conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        )));
    }
    if !view.run.status.is_running() {
        return Err(Error::conflict(format!("container {id} is not running")));
    }
    let (host, pid) = (host.clone(), view.run.pid);
    let pids = blocking(move || {
        let group = host.group(pid, &id).map_err(Error::from_lower)?;
        host.processes(&group).map_err(Error::from_lower)
    });
    let pids = pids.await?;
    let words: Vec<&str> = asked.split(' ').filter(|word| !word.is_empty()).collect();
    let numbers: Vec<_> = pids.iter().map(ToString::to_string).collect();
    let chosen = format!("-q{}", numbers.join(","));
    // Some options (such as f) cannot be used together with -q.
    let mut output = ps(words.iter().copied().chain([chosen.as_str()])).await?;
    if output.is_err() {
        output = ps(words.iter().copied()).await?;
    }
    let output = output.map_err(Error::internal)?;
    parse(&output, &pids)
}

/// Refuses to have a column called PID that is another: it decides what is shown.
fn check(arguments: &str) -> Result<()> {
    // dockerd looks for blanks before it.
    let mut words = arguments.split(char::is_whitespace).skip(1).peekable();
    while let Some(word) = words.next() {
        let Some((column, title)) = word.split_once('=') else {
            continue;
        };
        let title = match title {
            "" => words.peek().copied().unwrap_or_default(),
            title => title,
        };
        if title.starts_with("PID") && column != "pid" {
            return Err(Error::internal(format!(
                "specifying \"{column}={title}\" is not allowed"
            )));
        }
    }
    Ok(())
}

/// Runs `ps`: what it prints, or what it says is wrong.
async fn ps<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<Result<String, String>> {
    let arguments: Vec<_> = arguments.collect();
    if arguments.iter().any(|word| word.contains('\0')) {
        return Err(Error::invalid("ps: invalid argument"));
    }
    let mut child = Command::new("ps")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::internal(
                "ps: exec: \"ps\": executable file not found in $PATH (Debian has it in the package procps)",
            ),
            _ => Error::internal(format!("ps: {error}")),
        })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let (stdout, stderr, status) = tokio::join!(text(stdout), text(stderr), child.wait());
        Ok::<_, std::io::Error>((stdout?, stderr?, status?))
    };
    let (stdout, stderr, status) = tokio::time::timeout(LIMIT, ended)
        .await
        .map_err(|_| Error::internal(format!("ps: no answer within {} s", LIMIT.as_secs())))?
        .map_err(|error| Error::internal(format!("ps: {error}")))?;
    if status.success() {
        return Ok(Ok(stdout));
    }
    // The first line tells why.
    Ok(Err(match stderr.lines().next().unwrap_or_default() {
        "" => format!("ps: {status}"),
        line => line.to_owned(),
    }))
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(LONGEST).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The rows of the container's processes. A row without a number (a thread's, with `m`) belongs to
/// the process before it.
fn parse(output: &str, pids: &[u32]) -> Result<wire::TopResponse> {
    // Blanks of Unicode are no separators.
    let fields =
        |line: &str| -> Vec<String> { line.split_ascii_whitespace().map(str::to_owned).collect() };
    let mut lines = output.lines();
    let titles = fields(lines.next().unwrap_or_default());
    let Some(column) = titles.iter().position(|title| title == "PID") else {
        return Err(Error::internal("Couldn't find PID field in ps output"));
    };
    let mut processes = Vec::new();
    let mut ours = false;
    for line in lines {
        let mut row = fields(line);
        let Some(number) = row.get(column) else {
            continue;
        };
        if number != "-" {
            let pid: u32 = number.parse().map_err(|_| {
                Error::internal(format!(
                    "Unexpected pid '{number}': strconv.Atoi: parsing {number:?}: invalid syntax"
                ))
            })?;
            ours = pids.contains(&pid);
        }
        if ours {
            // The last column takes what is left: a command has blanks.
            let rest = row.split_off(row.len().min(titles.len() - 1));
            row.push(rest.join(" "));
            processes.push(row);
        }
    }
    Ok(wire::TopResponse { processes, titles })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_are_the_containers_own() {
        let output = "UID   PID CMD\nroot    1 init\nroot   77 sh -c  a b\nroot   78 cat\n";
        let found = parse(output, &[77, 78, 99]).unwrap();
        assert_eq!(found.titles, ["UID", "PID", "CMD"]);
        assert_eq!(
            found.processes,
            [vec!["root", "77", "sh -c a b"], vec!["root", "78", "cat"]]
        );
    }

    #[test]
    fn threads_go_with_their_process() {
        let output = "PID CMD\n1 a\n- -\n7 b\n- -\n- -\n8 c\n";
        let found = parse(output, &[7]).unwrap();
        assert_eq!(found.processes.len(), 3);
    }

    #[test]
    fn errors_have_dockers_words() {
        let error = |output: &str| parse(output, &[1]).unwrap_err().to_string();
        assert_eq!(error("CMD\nx\n"), "Couldn't find PID field in ps output");
        assert_eq!(error(""), "Couldn't find PID field in ps output");
        assert!(error("PID\nx\n").starts_with("Unexpected pid 'x': "));
        let refused = |arguments: &str| check(arguments).unwrap_err().to_string();
        assert_eq!(
            refused("-o pid=X -o ppid=PID"),
            "specifying \"ppid=PID\" is not allowed"
        );
        assert_eq!(
            refused("ax -o comm=PID2"),
            "specifying \"comm=PID2\" is not allowed"
        );
        assert!(check("-o pid=PID,comm").is_ok() && check("-ef").is_ok());
    }

    proptest! {
        #[test]
        fn any_output_is_answered(output in "(PID|[ \t\n0-9a-z-]){0,60}", argument in ".{0,20}") {
            let _ = (parse(&output, &[1, 2]), check(&argument));
        }
    }
}
