"""Who may read what, as sets of tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_retrieval.domain.rights import PUBLIC, Acl, Caller, narrow, readers_of

_names = st.lists(st.sampled_from(["ana", "ben", "cleo"]), max_size=3).map(tuple)
_acls = st.builds(Acl, users=_names, groups=_names, public=st.booleans())
_callers = st.builds(
    Caller, st.just("red"), st.sampled_from(["", "ana", "ben", "cleo"]), _names, read_all=st.booleans()
)


def may_read(acl: Acl, caller: Caller) -> bool:
    """The rule, in words: public, or the user, or one of the groups."""
    return acl.public or caller.user in acl.users or bool(set(caller.groups) & set(acl.groups))


@given(_acls, _callers)
def test_tokens_meet_exactly_when_the_rule_allows(acl, caller):
    assert bool(acl.readers() & caller.readers) == may_read(acl, caller)


@given(_acls, _acls, _callers)
def test_old_text_is_open_only_to_who_may_read_it_and_its_replacement(old, new, caller):
    if narrow(old.readers(), new.readers()) & caller.readers:
        assert may_read(old, caller) and may_read(new, caller)


@given(_acls)
def test_the_same_rights_stay(acl):
    assert narrow(acl.readers(), acl.readers()) == acl.readers()


def test_a_user_and_a_group_of_the_same_name_are_not_the_same():
    assert not Acl(users=("ops",)).readers() & Caller("red", groups=("ops",)).readers
    assert not Acl(groups=("public",)).readers() & Caller("red").readers


def test_a_document_without_an_acl_is_public_or_nobodys():
    assert readers_of(None, acl_required=False) == {PUBLIC}
    assert readers_of(None, acl_required=True) == frozenset()
    assert readers_of(Acl(), acl_required=False) == frozenset(), "an empty acl is an acl"


def test_a_key_reads_all_only_for_itself():
    assert Caller("red", read_all=True).whole_tenant
    assert not Caller("red", user="ana", read_all=True).whole_tenant
    assert not Caller("red", groups=("staff",), read_all=True).whole_tenant
    assert not Caller("red").whole_tenant
