"""What is wrong with d2n's registered models: versions without files, aliases that differ from their history."""

from __future__ import annotations

from d2n.errors import TrackingError
from d2n.tracking import history, registered, registry, registry_lock
from d2n.tracking.answers import is_absent
from d2n.tracking.findings import Finding, examined
from d2n.tracking.places import local_path
from d2n.tracking.registry import RegisteredVersion
from d2n.tracking.runs import Store


def broken_versions(store: Store) -> list[Finding]:
    """Versions of d2n's registered models whose files are missing; READY says nothing about that."""
    found = []
    for name in registry.list_models(store, prefix="d2n-"):
        found += examined(name, lambda name=name: _broken(store, name))  # type: ignore[misc] # bound now
    return found


def strayed_aliases(store: Store) -> list[Finding]:
    """Aliases that are elsewhere than their history says, or at a version that is not there."""
    found = []
    for name in registry.list_models(store, prefix="d2n-"):
        found += examined(name, lambda name=name: _strayed(store, name))  # type: ignore[misc] # bound now
    return found


def retire_version(store: Store, subject: str) -> str:
    """Take the aliases of a version away, if its files are still missing."""
    with registry.exclusive(store, subject.rpartition("/")[0]):
        version = registry.resolve(store, subject)
        if not _lack(store, version):
            return f"{subject} has its files by now"
        for alias in version.aliases:
            store.call(store.client.delete_registered_model_alias, version.name, alias)
            registry.record_move(store, version.name, alias, "", version.version, "version does not load")
    return f"took {', '.join(version.aliases)} away from {subject}: promote another version"


def settle_alias(store: Store, subject: str) -> str:
    """Write down where an alias is, or take it away where its version is not there."""
    name, _, alias = subject.partition("@")
    with registry.exclusive(store, name):
        now = registry.list_aliases(store, name).get(alias, "")
        if now and now not in {version.version for version in registry.list_versions(store, name)}:
            store.call(store.client.delete_registered_model_alias, name, alias)
            registry.record_move(store, name, alias, "", now, "its version is not there")
            return f"took {subject} away: promote another version"
        said = _said(store, name, alias)
        if said != now:
            words = "moved by hand: found there by doctor"
            registry.record_move(store, name, alias, now, said or None, words, history.HAND)
        return f"the history of {subject} says {_at(now)} now"


def settle_model(store: Store, name: str) -> str:
    """Remove moves of a model's history that nobody can read and locks that nobody holds, end what was begun."""
    done = []
    for entry in registry_lock.dead_entries(registered.model(store, name).tags):
        registry_lock.drop(store, name, entry.token)
        done.append(f"took the lock of {entry.who} away")
    with registry.exclusive(store, name):
        dropped = registry.unreadable_moves(store, name)
        for tag in dropped:
            store.call(store.client.delete_registered_model_tag, name, tag)
        done += [f"removed {', '.join(dropped)}"] if dropped else []
        done += history.settle(store, name)
    return "; ".join(done) or f"nothing of {name} is left to do by now"


def _broken(store: Store, name: str) -> list[Finding]:
    found = []
    for version in registry.list_versions(store, name):
        lack = _lack(store, version)
        if not lack:
            continue
        aliases = "".join(f"@{alias}" for alias in version.aliases)
        message = f"version does not load{f' and is {aliases}' if aliases else ''}: {lack}"
        root = _absent_root(store, version)
        if root:
            advice = (
                f"bring {root} back (a disk that is not mounted?); where the store was moved: docs/deploy.md"
            )
            found.append(Finding("broken version", f"{name}/{version.version}", message, "", advice))
            continue
        mending = f"take the alias {aliases} away" if aliases else ""
        advice = "" if aliases else "bring its files back from a copy, or delete the version in `d2n ui`"
        found.append(Finding("broken version", f"{name}/{version.version}", message, mending, advice))
    return found


def _lack(store: Store, version: RegisteredVersion) -> str:
    """What a version lacks, '' if nothing. TrackingError where the store of its files does not answer."""
    try:
        return registry.lacking_files(store, version)
    except TrackingError as error:
        if is_absent(error):
            return str(error)  # its logged model was deleted
        raise


def _absent_root(store: Store, version: RegisteredVersion) -> str:
    """The folder of all artifacts that the version's files belong to, where that is missing as a whole."""
    try:
        model = store.call(store.client.get_logged_model, version.model_id)
    except TrackingError:
        return ""
    path = local_path(model.artifact_location)
    if path is None or len(path.parents) < 5:
        return ""
    root = path.parents[3]  # ROOT/EXPERIMENT/models/MODEL/artifacts
    return "" if root.is_dir() and any(root.iterdir()) else str(root)


def _strayed(store: Store, name: str) -> list[Finding]:
    tags = registered.model(store, name).tags
    dead = registry_lock.dead_entries(tags)
    is_at_work = len(registry_lock.entries(tags)) > len(dead)
    begun = history.intended(tags)
    aliases = registry.list_aliases(store, name)
    there = {version.version for version in registry.list_versions(store, name)}
    found = []
    if unreadable := registry.unreadable_moves(store, name):
        message = f"its history has moves that cannot be read: {', '.join(unreadable)}"
        found.append(Finding("alias", name, message, "remove them"))
    if dead:
        message = f"{', '.join(entry.who for entry in dead)} held it for a promotion and is gone"
        found.append(Finding("alias", name, message, "take the lock away"))
    if begun and not is_at_work:
        each = ", ".join(f"@{record.alias} to {_at(record.version)}" for record in begun)
        found.append(Finding("alias", name, f"begun and never ended: {each}", "end it, or take it back"))
    if begun or is_at_work:
        return found  # where its aliases are is said by what is under way
    for alias in sorted({*aliases, *(move.alias for move in registry.alias_history(store, name))}):
        now, said = aliases.get(alias, ""), _said(store, name, alias)
        subject = f"{name}@{alias}"
        if now and now not in there:
            message = f"the alias is at version {now}, which is not there"
            found.append(Finding("alias", subject, message, "take the alias away"))
        elif now != said:
            message = f"the alias is at {_at(now)}, its history says {_at(said)}"
            found.append(Finding("alias", subject, message, "write down where it is; the alias stays"))
    return found


def _said(store: Store, name: str, alias: str) -> str:
    """The version that an alias's last move led to; '' for none."""
    moves = registry.alias_history(store, name, alias)
    return moves[-1].version if moves else ""


def _at(version: str) -> str:
    return f"version {version}" if version else "no version"
