"""Seeded bugs: each is a small change of the SQL or of the Python that decides and books.

Some test must notice each of them; `make mutants-ledger` applies them one after the other.
"""

from __future__ import annotations

from tests.ledger.seeded import Mutant

CALLS = "gateway/migrations/0003_batches.sql"
AUTHORIZE = "gateway/migrations/0009_standings.sql"
SETTLE = "usage/migrations/0005_settle.sql"
PACE = "usage/migrations/0032_runaways.sql"
CARDS = "catalog/migrations/0006_price_review.sql"
OPENS = "gateway/migrations/0017_opens_at.sql"
LEND = "gateway/migrations/0006_lease_wishes.sql"
POLL = "gateway/migrations/0011_calls_in_flight.sql"
RECALL = "gateway/migrations/0004_leases.sql"
DRAW = "usage/migrations/0009_leased_calls_never_settled.sql"
RECLAIM = "usage/migrations/0006_leases.sql"
PATH = "budgets/migrations/0005_open_window.sql"
CARRY = "budgets/migrations/0009_carry_over_skipped_windows.sql"
IMPORT = "usage/migrations/0014_import.sql"
RACES = ("tests/gateway/test_lock_of_balances.py",)
WAITS = ("tests/gateway/test_retry_after.py",)
WINDOWS = ("tests/gateway/test_windows.py",)
BATCHES = ("tests/gateway/test_batches.py",)
LEASES = ("tests/gateway/test_leases.py",)
RATES = ("tests/gateway/test_rates.py",)
STANDINGS = ("tests/gateway/test_standings.py",)
COMBINER = ("tests/gateway/test_combiner.py",)
RUNAWAY = ("tests/gateway/test_runaway.py",)
MUTANTS = (
    Mutant(
        name="a standing outlives its time",
        home=AUTHORIZE,
        before=" AND s.valid_until > v_now",
        after="",
        tests=STANDINGS,
    ),
    Mutant(
        name="a standing outlives a change of its own transaction",
        home=AUTHORIZE,
        before="        AND s.seen_turn >= coalesce(",
        after="        AND 0 <= coalesce(",
        tests=STANDINGS,
    ),
    Mutant(
        name="a standing outlives a change that was under way",
        home=AUTHORIZE,
        before="pg_snapshot_xmin(p_seen)",
        after="pg_snapshot_xmax(p_seen)",
        tests=STANDINGS,
    ),
    Mutant(
        name="a standing takes every change for one that it has seen",
        home=AUTHORIZE,
        before="AND NOT pg_visible_in_snapshot(x.xid::text::xid8, s.seen::pg_snapshot)",
        after="AND false",
        tests=STANDINGS,
    ),
    Mutant(
        name="a standing is of every project",
        home=AUTHORIZE,
        before=" AND coalesce(c.project = s.project_code, true)",
        after="",
        tests=STANDINGS,
    ),
    Mutant(
        name="a standing is of every size of input",
        home=AUTHORIZE,
        before="        AND coalesce(least(c.input, s.context_window_tokens) < s.below_input_tokens, true)",
        after="       ",
        tests=STANDINGS,
    ),
    Mutant(
        name="a standing forgets the end of a grant",
        home=AUTHORIZE,
        before="(VALUES (g.starts_at), (g.expires_at)) AS e (at)",
        after="(VALUES (g.starts_at)) AS e (at)",
        tests=STANDINGS,
    ),
    Mutant(
        name="what was asked before takes the room of others",
        home=CALLS,
        before="IF v_known[c] OR v_turns[c] > 1",
        after="IF v_turns[c] > 1",
        tests=BATCHES,
    ),
    Mutant(
        name="a planned limit is waited for that is too low",
        home=OPENS,
        before="planned.limit_usd >= p_usd",
        after="planned.limit_usd >= 0",
        tests=WAITS,
    ),
    Mutant(
        name="a planned limit is not waited for",
        home=OPENS,
        before="least(min(l.valid_from), p_window_end)",
        after="p_window_end",
        tests=WAITS,
    ),
    Mutant(
        name="balances are read without a lock",
        home=CALLS,
        before="ORDER BY x.budget_id, x.window_start FOR NO KEY UPDATE OF x) b\n",
        after="ORDER BY x.budget_id, x.window_start FOR KEY SHARE OF x) b\n",
        tests=RACES,
    ),
    Mutant(
        name="the hold misses the last budget of the path",
        home=AUTHORIZE,
        before="s.budget_ids, s.window_starts, s.rate_ids, s.limits_usd)::gateway_call",
        after="s.budget_ids[:greatest(cardinality(s.budget_ids) - 1, 1)], "
        "s.window_starts[:greatest(cardinality(s.budget_ids) - 1, 1)], s.rate_ids, "
        "s.limits_usd[:greatest(cardinality(s.budget_ids) - 1, 1)])::gateway_call",
    ),
    Mutant(
        name="calls of one batch do not see each other's holds",
        home=CALLS,
        before="v_reserved[v_on[i]] := v_reserved[v_on[i]] + call.held_usd;",
        after="v_reserved[v_on[i]] := v_reserved[v_on[i]];",
    ),
    Mutant(
        name="clamping ignores what is held",
        home=CALLS,
        before="IF v_modes[n] = 'hard' THEN v_free := least(v_free, v_left);",
        after="IF v_modes[n] = 'hard' THEN v_free := least(v_free, v_left + v_reserved[n]);",
    ),
    Mutant(
        name="any body is accepted under a known request id",
        home=AUTHORIZE,
        before="WHEN (c.seen).request_hash = c.request_hash THEN 'allow' ELSE 'request_id_reused' END",
        after="ELSE 'allow' END",
    ),
    Mutant(
        name="a request twice in a batch takes room twice",
        home=CALLS,
        before="OR v_turns[c] > 1 AND",
        after="OR v_turns[c] > 999 AND",
        tests=BATCHES,
    ),
    Mutant(
        name="all that a batch asks for is taken to fit",
        home=AUTHORIZE,
        before="coalesce(b.reserved_usd <= held.limit_usd - b.spent_usd, true) AS fits",
        after="true AS fits",
    ),
    Mutant(
        name="a batch is looked at without what is held",
        home=AUTHORIZE,
        before="coalesce(b.reserved_usd <= held.limit_usd - b.spent_usd, true) AS fits",
        after="coalesce(held.usd <= held.limit_usd - b.spent_usd, true) AS fits",
    ),
    Mutant(
        name="a batch is looked at without its rates",
        home=AUTHORIZE,
        before="coalesce((SELECT bool_and(x.fits) FROM counted x), true)",
        after="true",
        tests=RATES,
    ),
    Mutant(
        name="a batch that does not fit keeps what it took",
        home=AUTHORIZE,
        before="RAISE EXCEPTION USING ERRCODE = 'PUR01';",
        after="",
    ),
    Mutant(
        name="a request that another let in meanwhile is counted twice",
        home=AUTHORIZE,
        before="EXIT WHEN n = cardinality(v_calls);",
        after="EXIT WHEN n > 0;",
        tests=BATCHES,
    ),
    Mutant(
        name="a call reads the paths of the calls before it",
        home=CALLS,
        before="v_from := v_to + 1; v_to := v_to + cardinality(call.budget_ids);",
        after="v_from := 1; v_to := cardinality(call.budget_ids);",
        tests=BATCHES,
    ),
    Mutant(
        name="soft budgets refuse",
        home=CALLS,
        before="IF v_modes[n] <> 'hard' THEN",
        after="IF v_modes[n] = 'notify' THEN",
    ),
    Mutant(
        name="budgets of one tier bind every call",
        home=PATH,
        before="(b.only_tier_id IS NULL OR b.only_tier_id = p_tier)",
        after="true",
    ),
    Mutant(
        name="budgets of one model bind every call",
        home=PATH,
        before="(b.only_model_id IS NULL OR b.only_model_id = p_model)",
        after="true",
    ),
    Mutant(
        name="a closed budget still binds",
        home=PATH,
        before="AND b.scope_id = scope.id AND b.closed_at IS NULL",
        after="AND b.scope_id = scope.id",
        tests=WINDOWS,
    ),
    Mutant(
        name="a top-up counts after its end",
        home=CALLS,
        before=" AND l.valid_from <= p_now AND l.valid_until > p_now",
        after=" AND l.valid_from <= p_now",
        tests=WINDOWS,
    ),
    Mutant(
        name="a planned limit is in force at once",
        home=CALLS,
        before="l.kind = 'base' AND l.valid_from <= p_now ORDER BY",
        after="l.kind = 'base' ORDER BY",
        tests=WINDOWS,
    ),
    Mutant(
        name="n outputs are held as one",
        home=AUTHORIZE,
        before="+ p_choices * s.dear_output_usd * least(",
        after="+ s.dear_output_usd * least(",
    ),
    Mutant(
        name="holds are rounded down",
        home=CALLS,
        before="ceil(p_value * 1000000000000)",
        after="floor(p_value * 1000000000000)",
    ),
    Mutant(
        name="requests do not use up their rate",
        home=AUTHORIZE,
        before="requests_tat = greatest(l.requests_tat, v_now) + make_interval(secs => started.calls * 60.0",
        after="requests_tat = greatest(l.requests_tat, v_now) + make_interval(secs => 0 * 60.0",
        tests=RATES,
    ),
    Mutant(
        name="calls of one batch are not counted in flight",
        home=CALLS,
        before="v_rate_flight[n] := v_rate_flight[n] + 1;",
        after="v_rate_flight[n] := v_rate_flight[n];",
        tests=BATCHES,
    ),
    Mutant(
        name="a lapsed grant still opens its tier",
        home=CALLS,
        before="AND g.expires_at > p_now",
        after="",
    ),
    Mutant(
        name="a use without a bound is let through",
        home=CALLS,
        before="CASE WHEN bool_or(rate.value <> '0' AND NOT",
        after="CASE WHEN bool_or(false AND NOT",
    ),
    Mutant(
        name="a budget that is only held is told as spent",
        home=CALLS,
        before="code := CASE WHEN v_is_spent THEN",
        after="code := CASE WHEN true THEN",
    ),
    Mutant(
        name="settling frees the hold twice",
        home=SETTLE,
        before="reserved_usd = b.reserved_usd - moved.freed_usd,",
        after="reserved_usd = greatest(b.reserved_usd - 2 * moved.freed_usd, 0),",
    ),
    Mutant(
        name="a late settlement is booked as nothing",
        home=SETTLE,
        before="        WHEN j.cache_hit THEN 0\n",
        after="        WHEN j.cache_hit OR j.status = 'late' THEN 0\n",
    ),
    Mutant(
        name="an unsettled charge is not taken back",
        home=SETTLE,
        before="WHERE (p.reservation).state = 'unsettled') THEN",
        after="WHERE false) THEN",
    ),
    Mutant(
        name="a cancelled call costs nothing",
        home=SETTLE,
        before="j.input_floor_usd + core_round",
        after="core_round",
    ),
    Mutant(
        name="a cancelled call has written nothing",
        home=SETTLE,
        before="j.input_floor_usd + core_round_half_even((j.output - j.reasoning)",
        after="j.input_floor_usd + core_round_half_even(0",
        tests=("tests/gateway/test_settle.py",),
    ),
    Mutant(
        name="cached tokens cost what fresh ones cost",
        home=SETTLE,
        before="j.cached * card.cached_usd",
        after="j.cached * card.input_usd",
    ),
    Mutant(
        name="an answer from the cache is charged",
        home=SETTLE,
        before="WHEN j.cache_hit THEN 0",
        after="WHEN false THEN 0",
    ),
    Mutant(
        name="a call is priced at its settlement",
        home=SETTLE,
        before="catalog_card(k.served_id, k.in_context, k.at, k.input)",
        after="catalog_card(k.served_id, k.in_context, clock_timestamp(), k.input)",
        tests=WINDOWS,
    ),
    Mutant(
        name="the class that was asked for is priced, not the one that served",
        home=SETTLE,
        before="coalesce(i.served_context, x.context) AS in_context",
        after="x.context AS in_context",
    ),
    Mutant(
        name="a call counts on the day of its settlement",
        home=SETTLE,
        before="SELECT (p.authorized_at AT TIME ZONE p_zone)::date",
        after="SELECT (v_now AT TIME ZONE p_zone)::date",
    ),
    Mutant(
        name="a call counts in the hour of its settlement",
        home=SETTLE,
        before="SELECT date_trunc('hour', p.authorized_at, 'UTC')",
        after="SELECT date_trunc('hour', v_now, 'UTC')",
    ),
    Mutant(
        name="what was asked is priced, not what was served",
        home=SETTLE,
        before="coalesce(m.id, x.model_id) AS served_id",
        after="x.model_id AS served_id",
    ),
    Mutant(
        name="calls stay in flight when they end",
        home=SETTLE,
        before="in_flight = l.in_flight - ended.calls,",
        after="in_flight = l.in_flight,",
    ),
    Mutant(
        name="unused tokens do not flow back to their rate",
        home=SETTLE,
        before="ended.unused * 60.0",
        after="0 * ended.unused",
    ),
    Mutant(
        name="other figures are taken for the same",
        home=SETTLE,
        before="coalesce(seen.context, r.context) THEN 'duplicate' ELSE 'conflict' END;",
        after="coalesce(seen.context, r.context) THEN 'duplicate' ELSE 'duplicate' END;",
    ),
    Mutant(
        name="a call never settled is charged its whole hold",
        home=SETTLE,
        before="ROW(r, 'unsettled', r.input_floor_usd, r.held_usd,",
        after="ROW(r, 'unsettled', r.held_usd, r.held_usd,",
    ),
    Mutant(
        name="the second settlement of a batch is booked first",
        home=SETTLE,
        before="row_number() OVER of_one_call AS turn",
        after="row_number() OVER (PARTITION BY x.id ORDER BY i.place DESC) AS turn",
        tests=BATCHES,
    ),
    Mutant(
        name="the step of a long input is missed",
        home=CARDS,
        before="x.tier_start <= p_input_tokens",
        after="x.tier_start = 0",
    ),
    Mutant(
        name="the list price beats the contract",
        home=CARDS,
        before="CASE x.source WHEN 'contract' THEN 0 WHEN 'manual' THEN 1 ELSE 2 END",
        after="CASE x.source WHEN 'contract' THEN 2 WHEN 'manual' THEN 1 ELSE 0 END",
    ),
    Mutant(
        name="calls in flight are passed on as unused",
        home=CARRY,
        before="SELECT window_end, spent_usd + reserved_usd INTO",
        after="SELECT window_end, spent_usd INTO",
    ),
    Mutant(
        name="a skipped window forgets what it was passed",
        home=CARRY,
        before="    v_used := v_carry;",
        after="    v_used := 0;",
        tests=WINDOWS,
    ),
    Mutant(
        name="a lease is never below its floor, though less is free",
        home=LEND,
        before="least(p_want, v_free, greatest(p_floor, v_free / (2 * v_nodes)))",
        after="least(p_want, greatest(p_floor, v_free / (2 * v_nodes)))",
    ),
    Mutant(
        name="a lease takes what is there for all nodes",
        home=LEND,
        before="greatest(p_floor, v_free / (2 * v_nodes))",
        after="greatest(p_floor, v_free)",
    ),
    Mutant(
        name="a wish for a lease that is asked again is lent for again",
        home=LEND,
        before="IF v_again THEN v_slice := 0; END IF;",
        after="IF false THEN v_slice := 0; END IF;",
    ),
    Mutant(
        name="a lease keeps what its calls have drawn",
        home=DRAW,
        before="IF FOUND THEN UPDATE budgets_lease SET held_usd = held_usd - v_held WHERE id = l.id; END IF;",
        after="",
    ),
    Mutant(
        name="calls in flight that a node tells of get no hold",
        home=POLL,
        before="PERFORM usage_draw(p_allowed);",
        after="",
    ),
    Mutant(
        name="a call under a lease that is told again is drawn again",
        home=DRAW,
        before="IF FOUND THEN UPDATE budgets_lease",
        after="IF true THEN UPDATE budgets_lease",
    ),
    Mutant(
        name="a call under a lease that is used up and never heard of again costs nothing",
        home=DRAW,
        before="least(q.held_usd, core_round_half_even",
        after="least(v_held, core_round_half_even",
    ),
    Mutant(
        name="a node's clock says when its call under a lease was",
        home=DRAW,
        before="v_at := least(greatest(q.authorized_at, l.opened_at), l.expires_at);",
        after="v_at := q.authorized_at;",
    ),
    Mutant(
        name="a lease gives back what its node keeps",
        home=DRAW,
        before="v_back numeric := greatest(l.held_usd - p_keep, 0);",
        after="v_back numeric := l.held_usd;",
    ),
    Mutant(
        name="a lease is reclaimed when it ends and not when its last call has",
        home=RECLAIM,
        before="reclaim_at + p_grace <= clock_timestamp()",
        after="expires_at + p_grace <= clock_timestamp()",
    ),
    Mutant(
        name="what a lost node never gave back is forgotten",
        home=RECLAIM,
        before="THEN l.held_usd ELSE 0 END",
        after="THEN 0 ELSE 0 END",
        tests=LEASES,
    ),
    Mutant(
        name="a lease that its node never heard of is in doubt",
        home=RECLAIM,
        before="THEN l.held_usd ELSE 0 END",
        after="THEN l.held_usd ELSE l.held_usd END",
        tests=LEASES,
    ),
    Mutant(
        name="every call of a batch holds as long as its first",
        home=AUTHORIZE,
        before="v_now, v_now + make_interval(secs => p_hold_seconds[c.place])",
        after="v_now, v_now + make_interval(secs => p_hold_seconds[1])",
        tests=("tests/gateway/test_batches.py",),
    ),
    Mutant(
        name="a lease goes on when its team has moved",
        home=RECALL,
        before=" AND t.department_id = l.department_id",
        after="",
        tests=LEASES,
    ),
    Mutant(
        name="a lease goes on when its key is suspended",
        home=RECALL,
        before=" AND k.suspended_at IS NULL",
        after="",
        tests=LEASES,
    ),
    Mutant(
        name="a lease goes on when a limit is set",
        home=RECALL,
        before="b.valid_from BETWEEN l.opened_at AND clock_timestamp()",
        after="false",
    ),
    Mutant(
        name="a lease goes on when its budget is overdrawn",
        home=RECALL,
        before="b.mode = 'hard' AND x.limit_usd <",
        after="false AND x.limit_usd <",
        tests=LEASES,
    ),
    Mutant(
        name="a lease stops when a soft budget is exceeded",
        home=RECALL,
        before="b.mode = 'hard' AND x.limit_usd <",
        after="x.limit_usd <",
        tests=LEASES,
    ),
    Mutant(
        name="answers of a batch are mixed up",
        home="gateway.hot.decisions:answers",
        before="by_place = sorted(rows, key=lambda row: row[0])",
        after="by_place = sorted(rows, key=lambda row: -row[0])",
    ),
    Mutant(
        name="the hash of a call is of its request id alone",
        home="gateway.hot.wire:parse_authorize",
        before="hashlib.sha256(body).digest()",
        after="hashlib.sha256(request_id.encode()).digest()",
    ),
    Mutant(
        name="a negative count is believed",
        home="usage.tokens:checked_tokens",
        before="not 0 <= count <= MAX_TOKENS",
        after="not count <= MAX_TOKENS",
        tests=("tests/gateway/test_settle.py",),
    ),
    Mutant(
        name="nobody looks how fast a key spends",
        home=SETTLE,
        before="IF v_keys IS NOT NULL THEN PERFORM usage_stop_runaways",
        after="IF v_keys IS NULL THEN PERFORM usage_stop_runaways",
        tests=RUNAWAY,
    ),
    Mutant(
        name="a log is not watched for runaways",
        home=IMPORT,
        before="  v_keys := usage_import_minutes(v_now);\n",
        after="",
        tests=("tests/gateway/test_runaway_logs.py",),
    ),
    Mutant(
        name="a key that runs away is told of and goes on",
        home=PACE,
        before="UPDATE keys_apikey SET suspended_at = p_now, suspended_reason = v_reason WHERE id = q.id;",
        after="",
        tests=RUNAWAY,
    ),
    Mutant(
        name="what was spent before a key was resumed is held against it",
        home=PACE,
        before="AND coalesce(m.minute > v_resumed_at, true)",
        after="",
        tests=RUNAWAY,
    ),
    Mutant(
        name="a planned activity stops its key",
        home=PACE,
        before="coalesce(v_planned_usd, greatest(10,",
        after="coalesce(greatest(10,",
        tests=RUNAWAY,
    ),
    Mutant(
        name="a settlement waits for whoever holds a key that runs away",
        home=PACE,
        before=" FOR NO KEY UPDATE SKIP LOCKED",
        after=" FOR NO KEY UPDATE",
        tests=RUNAWAY,
    ),
    Mutant(
        name="charges count in the minute in which they are booked",
        home=SETTLE,
        before="SELECT p.key_id, date_trunc('minute', p.authorized_at)",
        after="SELECT p.key_id, date_trunc('minute', v_now)",
        tests=RUNAWAY,
    ),
    Mutant(
        name="other scopes' totals are told",
        home="gateway.hot.refusals:_budget_refusal",
        before="    if not is_own:\n",
        after="    if False:\n",
        tests=("tests/gateway/test_hidden_totals.py",),
    ),
    Mutant(
        name="one poisoned call fails its whole batch",
        home="gateway.hot.combiner:Combiner._answer_batch",
        before="if len(batch) > 1:",
        after="if len(batch) > 999:",
        tests=COMBINER,
    ),
    Mutant(
        name="a waiter that left is asked for",
        home="gateway.hot.combiner:Combiner._next_batch",
        before="if not waiter.done():",
        after="if True:",
        tests=COMBINER,
    ),
)
