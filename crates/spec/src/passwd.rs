//! Who a container runs as: `--user` and `--group-add` resolved in the image's own account files.
//!
//! The rules are those of the user package that dockerd and runc share, its error texts included.
//! One difference: a line whose number is not a number is passed over, where theirs reads it as 0
//! and so makes a malformed line root.

use crate::error::{Error, Result};
use crate::rootfs::LayeredRoot;

/// The largest account file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The highest uid or gid that Docker accepts.
const MAX_ID: u32 = i32::MAX as u32;

/// A resolved user: what the process gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The primary group's number.
    pub gid: u32,
    /// The supplementary groups: the primary one, those that the group file puts the user in, then
    /// those of `--group-add`.
    pub additional_gids: Vec<u32>,
    /// The home directory by the password file, `/` when it knows none.
    pub home: String,
}

/// One line of a password file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// One line of a group file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl User {
    /// Resolves `spec` (``, `name`, `uid`, `name:group`, `uid:gid` …) and `group_add` in `root`'s
    /// `/etc/passwd` and `/etc/group`. A file that does not exist is as an empty one.
    ///
    /// # Errors
    /// `unable to find user NAME: no matching entries in passwd file` and the like, or the files
    /// cannot be read.
    pub fn resolve(spec: &str, group_add: &[String], root: &LayeredRoot) -> Result<User> {
        // Numbers alone with no groups to look up still need the passwd file: it has the gid.
        let passwd = text(root.read_file("/etc/passwd", MAX_FILE)?);
        let group = text(root.read_file("/etc/group", MAX_FILE)?);
        User::from_files(spec, group_add, &passwd, &group)
    }

    /// [`User::resolve`] with the files' contents.
    ///
    /// # Errors
    /// As [`User::resolve`].
    pub fn from_files(spec: &str, group_add: &[String], passwd: &str, group: &str) -> Result<User> {
        let (user, group_name) = spec.split_once(':').unwrap_or((spec, ""));
        let account = find_account(user, passwd)?;
        let mut resolved = User {
            uid: account.uid,
            gid: account.gid,
            additional_gids: Vec::new(),
            home: account.home,
        };
        let groups = parse_groups(group);
        let mut supplementary = Vec::new();
        if !group_name.is_empty() {
            resolved.gid = find_group(&groups, group_name, "unable")?;
        } else if !account.name.is_empty() {
            let member = |group: &&Group| group.members.contains(&account.name);
            supplementary.extend(groups.iter().filter(member).map(|group| group.gid));
        }
        for name in group_add {
            supplementary.push(find_group(&groups, name, "Unable")?);
        }
        resolved.additional_gids.push(resolved.gid);
        for gid in supplementary {
            if !resolved.additional_gids.contains(&gid) {
                resolved.additional_gids.push(gid);
            }
        }
        Ok(resolved)
    }
}

/// The account that `user` names. A number needs no entry; an account without one has no name.
fn find_account(user: &str, passwd: &str) -> Result<Account> {
    let number = if user.is_empty() {
        Some(0)
    } else {
        parse_number(user)
    };
    let matches = |account: &Account| match number {
        Some(uid) => i64::from(account.uid) == uid,
        None => account.name == user,
    };
    if let Some(account) = passwd.lines().filter_map(parse_account).find(matches) {
        return Ok(account);
    }
    let Some(uid) = number else {
        return Err(Error::Account(format!(
            "unable to find user {user}: no matching entries in passwd file"
        )));
    };
    Ok(Account {
        name: String::new(),
        uid: in_range(uid)?,
        gid: 0,
        home: "/".to_owned(),
    })
}

/// The number of the group that `name` is the name or number of. `unable` starts the error text:
/// the two places that Docker looks groups up in spell it differently.
fn find_group(groups: &[Group], name: &str, unable: &str) -> Result<u32> {
    let number = parse_number(name);
    let matches = |group: &&Group| match number {
        Some(gid) => i64::from(group.gid) == gid,
        None => group.name == name,
    };
    if let Some(group) = groups.iter().find(matches) {
        return Ok(group.gid);
    }
    match number {
        Some(gid) => in_range(gid),
        None => Err(Error::Account(format!(
            "{unable} to find group {name}: no matching entries in group file"
        ))),
    }
}

/// `text` as Go's `strconv.Atoi` takes it, which decides whether it is a number or a name.
fn parse_number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn in_range(id: i64) -> Result<u32> {
    u32::try_from(id)
        .ok()
        .filter(|id| *id <= MAX_ID)
        .ok_or_else(|| Error::Account(format!("uids and gids must be in range 0-{MAX_ID}")))
}

fn parse_account(line: &str) -> Option<Account> {
    let mut fields = line.trim().split(':');
    let name = fields
        .next()
        .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
    Some(Account {
        name: name.to_owned(),
        uid,
        gid,
        home: home.to_owned(),
    })
}

fn parse_groups(text: &str) -> Vec<Group> {
    text.lines().filter_map(parse_group).collect()
}

fn parse_group(line: &str) -> Option<Group> {
    let mut fields = line.trim().split(':');
    let name = fields
        .next()
        .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields
        .next()
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty());
    Some(Group {
        name: name.to_owned(),
        gid,
        members: members.map(str::to_owned).collect(),
    })
}

/// The file's text; bytes that are not UTF-8 can only be in lines that nobody asks for by name.
fn text(contents: Option<Vec<u8>>) -> String {
    contents
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

impl From<&User> for oci_spec::runtime::User {
    fn from(user: &User) -> Self {
        let mut oci = oci_spec::runtime::User::default();
        oci.set_uid(user.uid)
            .set_gid(user.gid)
            .set_additional_gids(Some(user.additional_gids.clone()));
        oci
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\n# comment\nbroken\nevil:x:zero:0::/:\n\
                          www-data:x:33:33:www:/var/www:/bin/false\napp:x:1000:1001::/home/app:\n\
                          42:x:500:500:a number for a name:/:\n";
    const GROUP: &str =
        "root:x:0:\nadm:x:4:app,www-data\nvideo:x:44:app\nwww-data:x:33:\napp:x:1001:\n";

    fn user(spec: &str, add: &[&str]) -> Result<User> {
        let add: Vec<String> = add.iter().map(|name| (*name).to_owned()).collect();
        User::from_files(spec, &add, PASSWD, GROUP)
    }

    fn ids(spec: &str, add: &[&str]) -> (u32, u32, Vec<u32>, String) {
        let user = user(spec, add).unwrap();
        (user.uid, user.gid, user.additional_gids, user.home)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ids("", &[]), (0, 0, vec![0], "/root".to_owned()));
        assert_eq!(
            ids("app", &[]),
            (1000, 1001, vec![1001, 4, 44], "/home/app".to_owned())
        );
        assert_eq!(
            ids("1000", &[]),
            (1000, 1001, vec![1001, 4, 44], "/home/app".to_owned())
        );
        assert_eq!(ids("7777", &[]), (7777, 0, vec![0], "/".to_owned()));
        assert_eq!(
            ids("app:www-data", &[]),
            (1000, 33, vec![33], "/home/app".to_owned())
        );
        assert_eq!(
            ids("app:7", &[]),
            (1000, 7, vec![7], "/home/app".to_owned())
        );
        assert_eq!(ids("7:8", &[]), (7, 8, vec![8], "/".to_owned()));
        assert_eq!(ids(":33", &[]), (0, 33, vec![33], "/root".to_owned()));
        assert_eq!(ids("42", &[]).0, 42);
        assert_eq!(ids("www-data", &["video", "9", "video"]).2, [33, 4, 44, 9]);
    }

    #[test]
    fn errors_have_dockers_words() {
        let text = |spec, add: &[&str]| user(spec, add).unwrap_err().to_string();
        let passwd = "no matching entries in passwd file";
        assert_eq!(
            text("nosuch", &[]),
            format!("unable to find user nosuch: {passwd}")
        );
        assert_eq!(
            text("evil", &[]),
            format!("unable to find user evil: {passwd}")
        );
        let group = "no matching entries in group file";
        assert_eq!(
            text("app:nosuch", &[]),
            format!("unable to find group nosuch: {group}")
        );
        assert_eq!(
            text("", &["nosuch"]),
            format!("Unable to find group nosuch: {group}")
        );
        let range = "uids and gids must be in range 0-2147483647";
        assert_eq!(text("-1", &[]), range);
        assert_eq!(text("2147483648", &[]), range);
        assert_eq!(text("1:4294967296", &[]), range);
    }

    #[test]
    fn images_without_account_files() {
        let resolve = |spec| User::from_files(spec, &[], "", "");
        assert_eq!(resolve("").unwrap().uid, 0);
        assert_eq!(resolve("5:6").unwrap().gid, 6);
        assert!(resolve("app").is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(spec in ".{0,20}", passwd in ".{0,80}", group in "(.{0,40}\n){0,3}") {
            let _ = User::from_files(&spec, std::slice::from_ref(&spec), &passwd, &group);
        }
    }
}
