//! Files of tokens: what is taken, what is refused, and what a change does.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use millpond_api::{Health, Scope, Tenants, Token, TokenHash};

use super::*;
use crate::settings::Settings;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("tokens.toml")
    }

    fn write(&self, text: &str) -> PathBuf {
        fs::write(self.path(), text).unwrap();
        self.mode(0o600);
        self.path()
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn problems(&self, text: &str) -> Vec<String> {
        match read(&self.write(text)) {
            Err(SettingsError::Invalid(problems)) => problems,
            other => panic!("it should be wrong: {text}: {other:?}"),
        }
    }
}

fn hash(secret: &str) -> String {
    TokenHash::of(secret.as_bytes()).to_string()
}

fn table(secret: &str, rest: &str) -> String {
    format!("[[token]]\nhash = '{}'\n{rest}\n", hash(secret))
}

#[test]
fn tokens_are_read_with_all_that_is_said_of_them() {
    let place = Place::new();
    let text = table("a", "tenant = 'acme'\nscopes = ['read', 'write']\nname = 'app'")
        + &table("b", "tenants = ['x', 'y']\nscopes = ['read']\nexpires_at = 2030-01-31T12:00:00Z")
        + &table("c", "tenant = '*'\nscopes = ['read']\nexpires_at = '2030-01-31T13:00:00+01:00'")
        + &table("d", "scopes = ['admin']");
    let tokens = read(&place.write(&text)).unwrap();
    assert_eq!(tokens.len(), 4);
    let of = |secret: &str| tokens.iter().find(|token| token.hash.to_string() == hash(secret)).unwrap();
    let tenant = |name: &'static str| Tenant::new(name).unwrap();
    assert_eq!(of("a").tenants, Tenants::These(vec![tenant("acme")]));
    assert_eq!(
        (of("a").scopes.as_slice(), of("a").name.as_deref()),
        (&[Scope::Read, Scope::Write][..], Some("app"))
    );
    assert_eq!(of("b").tenants, Tenants::These(vec![tenant("x"), tenant("y")]));
    assert_eq!(of("b").expires_at, Some(UnixMillis(1_896_091_200_000)));
    assert_eq!(of("c").expires_at, of("b").expires_at);
    assert_eq!(of("c").tenants, Tenants::Any);
    assert_eq!(of("d").tenants, Tenants::These(Vec::new()));
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_without_a_value() {
    let place = Place::new();
    let at = place.path().display().to_string();
    let good = table("a", "tenant = 'a'\nscopes = ['read']");
    for (text, wanted) in [
        (String::new(), format!("{at}: there is no [[token]] in it; run: millpond token new")),
        (
            good.replace("tenant", "tennant"),
            format!("{at}:1: unknown key token.tennant; did you mean tenant?"),
        ),
        (good.clone() + "[[tokens]]\n", format!("{at}:5: unknown key tokens; did you mean token?")),
        (format!("{good}{good}"), format!("{at}: the token {} is there twice", hash("a"))),
        ("token = 'SECRET'".to_owned(), format!("{at}:1: token is not a table [[token]]")),
        ("token = ['SECRET']".to_owned(), format!("{at}:1: token is not a table such as [[token]]")),
        ("[[token]]\nhash = 'SECRET'".to_owned(), format!("{at}:1: token.hash is not sha256:")),
        ("[[token]]\nsecret = 'SECRET'".to_owned(), format!("{at}:1: unknown key token.secret")),
        ("[[token]]\nhash = SECRET".to_owned(), format!("{at}:2: ")),
        (table("a", "tenant = 'A b'\nscopes = ['read']"), "a tenant is 1 to 63 of".to_owned()),
        (table("a", "tenants = []\nscopes = ['read']"), "token.tenants is not a list of tenants".to_owned()),
        (table("a", "tenant = 'a'\ntenants = ['b']\nscopes = ['read']"), "not both".to_owned()),
        (table("a", "scopes = ['read', 'admin']"), "unless admin is all that it may do".to_owned()),
        (table("a", "tenant = 'a'\nscopes = []"), "a token has scopes".to_owned()),
        (table("a", "tenant = 'a'"), "a token has scopes".to_owned()),
        (
            table("a", "tenant = 'a'\nscopes = ['SECRET']"),
            "something else than read, write, admin".to_owned(),
        ),
        (table("a", "tenant = 'a'\nscopes = ['read']\nname = ''"), "token.name is not".to_owned()),
        (
            table("a", "tenant = 'a'\nscopes = ['read']\nexpires_at = 'soon'"),
            "token.expires_at is not".to_owned(),
        ),
        ("[[token]]\ntenant = 'a'\nscopes = ['read']".to_owned(), "a token has a hash".to_owned()),
    ] {
        let found = place.problems(&text);
        assert!(found[0].contains(&wanted), "{text}\n{found:?}\n{wanted}");
        assert!(!found[0].contains("SECRET"), "{found:?}");
    }
}

#[test]
fn a_file_that_others_may_read_or_change_is_refused_with_what_to_type() {
    let place = Place::new();
    place.write(&table("a", "tenant = 'a'\nscopes = ['read']"));
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
        place.mode(mode);
        let Err(SettingsError::Unsafe(why)) = read(&place.path()) else { panic!("{mode:o} is refused") };
        assert!(why.contains(&format!("chmod 600 {}", place.path().display())), "{why}");
    }
    place.mode(0o400);
    assert!(read(&place.path()).is_ok());
}

#[test]
fn a_change_counts_and_a_broken_one_changes_nothing_but_readiness() {
    let place = Place::new();
    let path = place.write(&table("a", "tenant = 'a'\nscopes = ['read']"));
    let settings = Settings { tokens_file: path.display().to_string(), ..Settings::default() };
    let mut follower = open(&settings).unwrap().unwrap();
    let (mut tokens, checks) = (follower.tokens(), follower.checks());
    let mut look = |follower: &mut Follower| {
        follower.follow(load(&place.path()));
        let changed = tokens.has_changed().unwrap();
        let known = Arc::clone(&tokens.borrow_and_update());
        let check = checks().remove(0);
        (changed, known.iter().map(|token| token.hash.to_string()).collect::<Vec<_>>(), check)
    };
    let (changed, known, check) = look(&mut follower);
    assert_eq!((changed, known, check.health), (false, vec![hash("a")], Health::Ok));

    place.write(&table("b", "tenant = 'a'\nscopes = ['read']"));
    let (changed, known, check) = look(&mut follower);
    assert_eq!((changed, known, check.health), (true, vec![hash("b")], Health::Ok));

    for broken in ["[[token]]\nhash = 'x'", "", "[[token"] {
        place.write(broken);
        let (changed, known, check) = look(&mut follower);
        assert_eq!((changed, known, check.health), (false, vec![hash("b")], Health::Degraded));
        assert!(check.detail.contains("tokens.toml") && !check.detail.contains('\n'), "{}", check.detail);
    }
    place.write(&table("c", "tenant = 'a'\nscopes = ['read']"));
    place.mode(0o644);
    assert!(look(&mut follower).2.detail.contains("chmod 600"));
    fs::remove_file(&path).unwrap();
    assert!(look(&mut follower).2.detail.contains("cannot be read"));

    // Even the one from before: it is sound again.
    place.write(&table("b", "tenant = 'a'\nscopes = ['read']"));
    let (_, known, check) = look(&mut follower);
    assert_eq!((known, check.health, check.detail.as_str()), (vec![hash("b")], Health::Ok, ""));
}

#[test]
fn the_last_token_that_is_taken_out_is_none_at_the_second_look() {
    let place = Place::new();
    let path = place.write(&table("a", "tenant = 'a'\nscopes = ['read']"));
    let settings = Settings { tokens_file: path.display().to_string(), ..Settings::default() };
    let mut follower = open(&settings).unwrap().unwrap();
    let (tokens, checks) = (follower.tokens(), follower.checks());
    let mut look = |text: &str| {
        place.write(text);
        follower.follow(load(&place.path()));
        (tokens.borrow().len(), checks().remove(0).health)
    };
    let full = table("b", "tenant = 'a'\nscopes = ['read']");
    assert_eq!(look("# soon\n"), (1, Health::Ok), "somebody may be writing it");
    assert_eq!(look(&full), (1, Health::Ok));
    assert_eq!(look(""), (1, Health::Ok));
    assert_eq!(look(""), (0, Health::Degraded));
    assert_eq!(look(""), (0, Health::Degraded));
    assert_eq!(look(&full), (1, Health::Ok));
}

fn known(secret: &str, tenants: Tenants) -> Token {
    let hash = TokenHash::of(secret.as_bytes());
    Token { hash, tenants, scopes: vec![Scope::Read, Scope::Admin], name: None, expires_at: None }
}

#[test]
fn what_is_appended_is_read_back_and_only_its_owner_can() {
    let place = Place::new();
    let link = place.dir.path().join("link.toml");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let tenants = |names: &[&'static str]| {
        Tenants::These(names.iter().map(|name| Tenant::new(*name).unwrap()).collect())
    };
    let first = Token {
        name: Some("a \"b\"".to_owned()),
        expires_at: Some(UnixMillis(1_896_091_200_000)),
        ..known("1", tenants(&["a"]))
    };
    append(&place.path(), &first).unwrap();
    // Somebody's editor has left no newline at the end.
    place.write(fs::read_to_string(place.path()).unwrap().trim_end());
    append(&link, &known("2", tenants(&["a", "b"]))).unwrap();
    append(&link, &known("3", Tenants::Any)).unwrap();
    let admin = Token { scopes: vec![Scope::Admin], ..known("4", tenants(&[])) };
    append(&place.path(), &admin).unwrap();
    let all = read(&place.path()).unwrap();
    let mut blocks: Vec<String> = all.iter().map(block).collect();
    blocks.sort_unstable();
    let mut wanted =
        [first, known("2", tenants(&["a", "b"])), known("3", Tenants::Any), admin].map(|token| block(&token));
    wanted.sort_unstable();
    assert_eq!(blocks, wanted);
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "a link stays one");
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 2, "nothing is left beside it");
}

#[test]
fn a_file_that_is_broken_or_unsafe_is_not_appended_to() {
    let place = Place::new();
    for (text, mode) in
        [("[[token]]\nhash = 1", 0o600), (&*table("1", "tenant = 'a'\nscopes = ['read']"), 0o644)]
    {
        place.write(text);
        place.mode(mode);
        let refused = append(&place.path(), &known("2", Tenants::Any)).unwrap_err();
        assert!(refused.is::<SettingsError>(), "{refused:#}");
        assert_eq!(fs::read_to_string(place.path()).unwrap(), text);
    }
    let again = place.write(&table("2", "tenant = 'a'\nscopes = ['read']"));
    assert!(append(&again, &known("2", Tenants::Any)).unwrap_err().to_string().contains("twice"));
}

#[test]
fn several_at_once_are_all_there() {
    let place = Place::new();
    let path = place.path();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let path = &path;
            scope.spawn(move || append(path, &known(&n.to_string(), Tenants::Any)).unwrap());
        }
    });
    assert_eq!(read(&path).unwrap().len(), 8);
}
