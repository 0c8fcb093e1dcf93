"""The rules of the ledger: balances, reservations, entries, rates and limits recompute to the last digit.

With `since`, a rule looks at what was touched from then on, and at the whole of it: a balance that one new
entry changed is recomputed from all its entries. Asked piece by piece, it looks at everything.
"""

# ruff: noqa: S608 - every part of a query is a constant of this code

from core.books import Cut, Rule, Sums, by_id

# A decision takes at most this long (the statement_timeout of every connection), so what was recorded that
# much earlier or later is surely before or after it.
LONGEST_DECISION_SECONDS = 30
# Longer than the transactions of two entries together: ids below one that is older than this are all there.
WRITTEN_WITHIN = "15 minutes"
# Calls lie within their window and their lease, but for those of a lease that ends after its window.
AROUND = "1 day"
LONGEST = "2 days"  # that a call or a lease is held

BY_CALL = by_id("budgets_reservation")
BY_ENTRY = by_id("budgets_entry")
PIECE = "BETWEEN %(first)s AND %(last)s"

TOUCHED_CALLS = """
    touched_call AS (
      SELECT id FROM budgets_reservation
      WHERE state = 'open' OR authorized_at >= %(since)s OR resolved_at >= %(since)s
      UNION SELECT reservation_id FROM budgets_entry
      WHERE recorded_at >= %(since)s AND reservation_id IS NOT NULL
    )
"""
TOUCHED_BALANCES = f"""
    {TOUCHED_CALLS}, touched AS (
      SELECT p.budget_id, p.window_start FROM budgets_reservation r JOIN touched_call USING (id),
        unnest(r.budget_ids, r.window_starts) AS p (budget_id, window_start)
      UNION SELECT p.budget_id, p.window_start FROM budgets_entry e,
        unnest(e.budget_ids, e.window_starts) AS p (budget_id, window_start) WHERE e.recorded_at >= %(since)s
      UNION SELECT p.budget_id, p.window_start FROM budgets_lease l,
        unnest(l.budget_ids, l.window_starts) AS p (budget_id, window_start)
      WHERE l.closed_at IS NULL OR l.opened_at >= %(since)s OR l.closed_at >= %(since)s
      UNION SELECT budget_id, window_start FROM budgets_balance
      WHERE %(since)s::timestamptz = '-infinity' OR reserved_usd <> 0
    )
"""
# How a balance is named: its budget and the start of its window.
BALANCE_NAME = (
    "coalesce((SELECT public_id FROM budgets_budget WHERE id = budget_id), 'budget ' || budget_id)"
    " || ' window ' || to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
)

# Summed by id: the balance of a whole organisation has more entries than one statement can read in time.
ENTRY_SUMS = Sums(
    up_to=f"""
    SELECT coalesce((SELECT id FROM budgets_entry WHERE recorded_at < now() - interval '{WRITTEN_WITHIN}'
                     ORDER BY id DESC LIMIT 1), 0)
    """,
    empties="DELETE FROM budgets_entrysum",
    query=f"""
    INSERT INTO budgets_entrysum AS s (budget_id, window_start, amount_usd)
    SELECT budget_id, window_start, sum(usd) FROM (
      SELECT p.budget_id, p.window_start, e.amount_usd AS usd
      FROM budgets_entry e, unnest(e.budget_ids, e.window_starts) AS p (budget_id, window_start)
      WHERE e.id {PIECE} AND e.id <= %(summed_to)s
      UNION ALL
      SELECT p.budget_id, p.window_start, 0
      FROM budgets_reservation r, unnest(r.budget_ids, r.window_starts) AS p (budget_id, window_start)
      WHERE r.id {PIECE}
    ) named GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (budget_id, window_start) DO UPDATE SET amount_usd = s.amount_usd + excluded.amount_usd
    """,
    cut=Cut(
        span="""
        SELECT 0, greatest((SELECT max(id) FROM budgets_entry), (SELECT max(id) FROM budgets_reservation), 0)
        """,
        width=100_000,
    ),
)
BALANCES = Rule(
    name="balance_is_its_entries_and_holds",
    sums=ENTRY_SUMS,
    query=f"""
    WITH {TOUCHED_BALANCES}, compared AS (
      SELECT budget_id, window_start FROM touched WHERE %(summed_to)s = 0
      UNION SELECT budget_id, window_start FROM budgets_entrysum WHERE %(summed_to)s > 0
      UNION SELECT budget_id, window_start FROM budgets_balance WHERE %(summed_to)s > 0
    ), entries AS (
      SELECT budget_id, window_start, sum(usd) AS usd FROM (
        SELECT budget_id, window_start, e.amount_usd AS usd
        FROM budgets_entry e, unnest(e.budget_ids, e.window_starts) AS p (budget_id, window_start)
        JOIN compared USING (budget_id, window_start) WHERE e.id > %(summed_to)s
        UNION ALL SELECT budget_id, window_start, amount_usd FROM budgets_entrysum WHERE %(summed_to)s > 0
      ) posted GROUP BY 1, 2
    ), holds AS (
      SELECT budget_id, window_start, sum(open.held_usd) AS usd
      FROM (SELECT budget_ids, window_starts, held_usd FROM budgets_reservation WHERE state = 'open'
            UNION ALL
            SELECT budget_ids, window_starts, held_usd FROM budgets_lease WHERE closed_at IS NULL) open,
        unnest(open.budget_ids, open.window_starts) AS p (budget_id, window_start) GROUP BY 1, 2
    )
    SELECT {BALANCE_NAME},
           format('spent %%s, entries %%s; reserved %%s, holds %%s', coalesce(b.spent_usd::text, 'nothing'),
                  coalesce(e.usd, 0), coalesce(b.reserved_usd::text, 'nothing'), coalesce(h.usd, 0))
    FROM compared LEFT JOIN budgets_balance b USING (budget_id, window_start)
    LEFT JOIN entries e USING (budget_id, window_start) LEFT JOIN holds h USING (budget_id, window_start)
    WHERE (coalesce(e.usd, 0), coalesce(h.usd, 0)) IS DISTINCT FROM (b.spent_usd, b.reserved_usd)
    ORDER BY window_start, budget_id
    """,
)
WINDOWS = Rule(
    name="windows_of_a_budget_do_not_overlap",
    cut=by_id("budgets_balance", column="budget_id", width=1_000),
    query=f"""
    SELECT {BALANCE_NAME}, format('ends at %%s, after the next one starts at %%s', window_end, next_start)
    FROM (SELECT budget_id, window_start, window_end,
                 lead(window_start) OVER (PARTITION BY budget_id ORDER BY window_start) AS next_start
          FROM budgets_balance WHERE budget_id {PIECE}) b
    WHERE window_end > next_start AND (next_start >= %(since)s OR window_end > %(since)s)
    ORDER BY window_start, budget_id
    """,
)
RESOLUTIONS = Rule(
    name="reservation_resolves_once",
    cut=BY_CALL,
    query=f"""
    WITH touched_call AS (
      SELECT id FROM budgets_reservation
      WHERE id {PIECE} AND (state = 'open' OR authorized_at >= %(since)s OR resolved_at >= %(since)s)
      UNION SELECT reservation_id FROM budgets_entry
      WHERE reservation_id {PIECE} AND recorded_at >= %(since)s
    ), posted AS (
      SELECT e.reservation_id AS id, count(*) AS entries, sum(e.amount_usd) AS total_usd,
             count(*) FILTER (WHERE e.kind IN ('settle', 'late')) AS settlements,
             count(*) FILTER (WHERE e.kind = 'unsettled') AS charges,
             sum(e.amount_usd) FILTER (WHERE e.kind = 'unsettled') AS charged_usd,
             sum(e.amount_usd) FILTER (WHERE c.kind = 'unsettled') AS taken_back_usd
      FROM budgets_entry e JOIN touched_call t ON t.id = e.reservation_id
      LEFT JOIN budgets_entry c ON c.id = e.corrects_id WHERE e.reservation_id {PIECE} GROUP BY 1
    ), calls AS (
      SELECT r.id, r.public_id, r.state, coalesce(p.entries, 0) AS entries,
             coalesce(p.total_usd, 0) AS total_usd, coalesce(p.settlements, 0) AS settlements,
             coalesce(p.charges, 0) AS charges,
             coalesce(p.charged_usd + p.taken_back_usd = 0, false) AS taken_back
      FROM budgets_reservation r JOIN touched_call USING (id) LEFT JOIN posted p USING (id)
      WHERE r.id {PIECE}
    )
    SELECT public_id, format(
      'is %%s with %%s settlements, %%s unsettled charges%%s, %%s entries of %%s in all',
      state, settlements, charges, CASE WHEN taken_back THEN ' (taken back)' END, entries, total_usd)
    FROM calls
    WHERE NOT CASE state
      WHEN 'open' THEN entries = 0
      WHEN 'settled' THEN settlements = 1 AND (charges = 0 OR charges = 1 AND taken_back)
      WHEN 'unsettled' THEN settlements = 0 AND charges = 1 AND NOT taken_back
      WHEN 'released' THEN settlements = 0 AND total_usd = 0
        AND (charges = 0 AND entries = 0 OR charges = 1 AND taken_back)
      ELSE false END
    ORDER BY id
    """,
)
RATES = Rule(
    name="rate_counts_its_open_calls",
    query="""
    WITH open AS (
      SELECT rate.id, count(*) AS calls FROM budgets_reservation r, unnest(r.rate_ids) AS rate (id)
      WHERE r.state = 'open' GROUP BY 1
    )
    SELECT l.public_id, format('counts %%s in flight, %%s reservations are open', l.in_flight,
                               coalesce(open.calls, 0))
    FROM budgets_ratelimit l LEFT JOIN open USING (id)
    WHERE l.in_flight <> coalesce(open.calls, 0) ORDER BY l.id
    """,
)
CORRECTIONS = Rule(
    name="correction_stays_with_what_it_corrects",
    cut=BY_ENTRY,
    query=f"""
    SELECT e.public_id, coalesce('corrects ' || c.public_id || ' of another call or window',
                                 'corrects an entry that does not exist')
    FROM budgets_entry e LEFT JOIN budgets_entry c ON c.id = e.corrects_id
    WHERE (e.kind = 'correction' OR e.corrects_id IS NOT NULL) AND e.recorded_at >= %(since)s
      AND e.id {PIECE}
      AND (c.id IS NULL OR (e.reservation_id, e.budget_ids, e.window_starts, e.key_id)
                           IS DISTINCT FROM (c.reservation_id, c.budget_ids, c.window_starts, c.key_id))
    ORDER BY e.id
    """,
)
ATTRIBUTION = Rule(
    name="entry_belongs_where_its_reservation_does",
    cut=BY_ENTRY,
    query=f"""
    SELECT e.public_id, 'differs from ' || r.public_id || ' in its ' || concat_ws(', ',
      CASE WHEN (e.budget_ids, e.window_starts)
                IS DISTINCT FROM (r.budget_ids, r.window_starts) THEN 'path' END,
      CASE WHEN (e.key_id, e.project_id, e.team_id, e.department_id)
                IS DISTINCT FROM (r.key_id, r.project_id, r.team_id, r.department_id) THEN 'attribution' END,
      CASE WHEN e.effective_at <> r.authorized_at THEN 'time' END)
    FROM budgets_entry e JOIN budgets_reservation r ON r.id = e.reservation_id
    WHERE e.recorded_at >= %(since)s AND e.id {PIECE}
      AND (e.budget_ids, e.window_starts, e.key_id, e.project_id, e.team_id, e.department_id, e.effective_at)
          IS DISTINCT FROM
          (r.budget_ids, r.window_starts, r.key_id, r.project_id, r.team_id, r.department_id, r.authorized_at)
    ORDER BY e.id
    """,
)
OVERRUNS = Rule(
    name="overrun_is_what_a_call_cost_above_its_hold",
    cut=BY_ENTRY,
    query=f"""
    SELECT e.public_id, format('%%s on a hold of %%s says an overrun of %%s', e.amount_usd, r.held_usd,
                               e.overrun_usd)
    FROM budgets_entry e JOIN budgets_reservation r ON r.id = e.reservation_id
    WHERE e.recorded_at >= %(since)s AND e.id {PIECE} AND e.kind IN ('settle', 'late', 'unsettled')
      AND e.overrun_usd <> greatest(e.amount_usd - r.held_usd, 0)
    ORDER BY e.id
    """,
)
LEASES = Rule(
    name="lease_is_what_it_holds_gave_back_and_its_calls_drew",
    cut=by_id("budgets_lease", width=1_000),
    query=f"""
    WITH lease AS MATERIALIZED (SELECT * FROM budgets_lease WHERE id {PIECE})
    SELECT l.public_id, format('granted %%s, holds %%s, gave back %%s, its calls drew %%s', l.granted_usd,
                               l.held_usd, l.returned_usd, coalesce(drawn.usd, 0))
    FROM lease l LEFT JOIN (
      SELECT lease_id, sum(held_usd) AS usd, max(authorized_at) AS newest
      FROM budgets_reservation WHERE lease_id {PIECE}
        AND authorized_at >= (SELECT min(opened_at) - interval '{AROUND}' FROM lease)
        AND authorized_at < (SELECT max(expires_at) + interval '{AROUND}' FROM lease)
      GROUP BY 1) drawn ON drawn.lease_id = l.id
    WHERE (l.closed_at IS NULL OR greatest(l.opened_at, l.closed_at, drawn.newest) >= %(since)s)
      AND l.granted_usd <> l.held_usd + l.returned_usd + coalesce(drawn.usd, 0)
    ORDER BY l.id
    """,
)
LEASED_CALLS = Rule(
    name="leased_call_belongs_where_its_lease_does",
    cut=BY_CALL,
    query=f"""
    SELECT r.public_id, coalesce('differs from ' || l.public_id || ' in its ' || concat_ws(', ',
      CASE WHEN (r.budget_ids, r.window_starts)
                IS DISTINCT FROM (l.budget_ids, l.window_starts) THEN 'path' END,
      CASE WHEN (r.source, r.key_id, r.owner_id, r.project_id, r.team_id, r.department_id, r.model_id,
                 r.tier_id) IS DISTINCT FROM (l.source, l.key_id, l.owner_id, l.project_id, l.team_id,
                 l.department_id, l.model_id, l.tier_id) THEN 'attribution' END,
      CASE WHEN r.authorized_at NOT BETWEEN l.opened_at AND l.expires_at THEN 'time' END,
      CASE WHEN r.rate_ids <> '{{}}' THEN 'rates' END), 'is under a lease that does not exist')
    FROM budgets_reservation r LEFT JOIN budgets_lease l ON l.id = r.lease_id
    WHERE r.lease_id IS NOT NULL AND r.authorized_at >= %(since)s AND r.id {PIECE}
      AND (l.id IS NULL OR r.rate_ids <> '{{}}' OR r.authorized_at NOT BETWEEN l.opened_at AND l.expires_at
           OR (r.budget_ids, r.window_starts, r.source, r.key_id, r.owner_id, r.project_id, r.team_id,
               r.department_id, r.model_id, r.tier_id)
              IS DISTINCT FROM
              (l.budget_ids, l.window_starts, l.source, l.key_id, l.owner_id, l.project_id, l.team_id,
               l.department_id, l.model_id, l.tier_id))
    ORDER BY r.id
    """,
)
# Replays every hard balance. A hold is taken under the lock of its balance, where its id is given too, so ids
# say in what order holds were taken. What lowered a balance is counted as long before as a decision can take,
# and what raised it when it was recorded, so the replay is never above the truth, and names nobody wrongly.
# At night it begins `from_at`, with what the balance has now less all that moved it since. What was held for
# days before is not known then, and only lowers the replay.
ADMISSIONS = Rule(
    name="hold_fits_the_limit_of_its_moment",
    cut=by_id("budgets_budget", width=50),
    looks_back=True,
    params=(("slack", f"{LONGEST_DECISION_SECONDS} seconds"),),
    query=f"""
    WITH {TOUCHED_BALANCES}, hard AS (
      SELECT b.id, (SELECT min(l.amount_usd) FROM budgets_budgetlimit l
                    WHERE l.budget_id = b.id AND l.kind = 'base') AS least_usd,
        coalesce((SELECT max(a.at) FROM core_auditevent a
                  WHERE a.object_type = 'budgets.budget' AND a.object_id = b.public_id AND a.before ? 'mode'
                    AND a.before->'mode' IS DISTINCT FROM a.after->'mode'), '-infinity') AS hard_since
      FROM budgets_budget b WHERE b.mode = 'hard' AND b.id {PIECE}
    ), path AS MATERIALIZED (
      SELECT b.budget_id, b.window_start, b.window_end, b.spent_usd + b.reserved_usd AS now_usd
      FROM budgets_balance b JOIN hard ON hard.id = b.budget_id
      WHERE b.window_end > %(from_at)s AND (%(since)s::timestamptz = '-infinity'
         OR (b.budget_id, b.window_start) IN (SELECT budget_id, window_start FROM touched))
    ), around AS MATERIALIZED (
      SELECT min(window_start) - interval '{AROUND}' AS opened, max(window_end) + interval '{AROUND}' AS last,
        greatest(min(window_start) - interval '{AROUND}', %(from_at)s::timestamptz - interval '{LONGEST}')
          AS first
      FROM path
    ), calls AS (
      SELECT budget_id, window_start, r.id, r.public_id, r.authorized_at, r.held_usd, r.lease_id,
        CASE r.state WHEN 'open' THEN NULL
          WHEN 'released' THEN coalesce(charge.recorded_at, r.resolved_at)
          WHEN 'unsettled' THEN charge.recorded_at
          -- A late settlement may follow a release, whose time is not kept: its hold may have ended at once.
          ELSE coalesce(charge.recorded_at, settled.recorded_at, r.authorized_at) END AS freed_at
      FROM budgets_reservation r
      CROSS JOIN LATERAL unnest(r.budget_ids, r.window_starts) AS p (budget_id, window_start)
      JOIN path USING (budget_id, window_start)
      LEFT JOIN budgets_entry charge ON charge.reservation_id = r.id AND charge.kind = 'unsettled'
      LEFT JOIN budgets_entry settled ON settled.reservation_id = r.id AND settled.kind = 'settle'
      WHERE r.authorized_at >= (SELECT first FROM around) AND r.authorized_at < (SELECT last FROM around)
    ), leases AS (
      SELECT budget_id, window_start, l.opened_at, l.closed_at, l.granted_usd,
             l.granted_usd - coalesce(drawn.usd, 0) AS returned_usd
      FROM budgets_lease l
      CROSS JOIN LATERAL unnest(l.budget_ids, l.window_starts) AS p (budget_id, window_start)
      JOIN path USING (budget_id, window_start)
      LEFT JOIN (SELECT lease_id, sum(held_usd) AS usd FROM budgets_reservation
                 WHERE lease_id IS NOT NULL AND authorized_at >= (SELECT first FROM around)
                   AND authorized_at < (SELECT last FROM around) GROUP BY 1) drawn ON drawn.lease_id = l.id
      WHERE l.opened_at >= (SELECT first FROM around)
    ), moved AS (
      -- What a call freed and cost in the same moment is one step.
      SELECT budget_id, window_start, at, sum(usd) AS usd FROM (
        SELECT budget_id, window_start, e.recorded_at AS at, coalesce(e.reservation_id, -e.id) AS call,
               e.amount_usd AS usd
        FROM budgets_entry e, unnest(e.budget_ids, e.window_starts) AS p (budget_id, window_start)
        JOIN path USING (budget_id, window_start)
        WHERE e.id > %(after_id)s
          AND e.effective_at >= (SELECT opened FROM around) AND e.effective_at < (SELECT last FROM around)
        UNION ALL
        SELECT budget_id, window_start, freed_at, id, -held_usd FROM calls WHERE freed_at IS NOT NULL
      ) parts GROUP BY budget_id, window_start, at, call
      UNION ALL SELECT budget_id, window_start, opened_at + %(slack)s::interval, granted_usd FROM leases
      UNION ALL
      SELECT budget_id, window_start, closed_at, -returned_usd FROM leases WHERE closed_at IS NOT NULL
    ), steps AS (
      SELECT budget_id, window_start, authorized_at AS at, id, public_id, held_usd, 0::numeric AS usd
      FROM calls WHERE lease_id IS NULL
      UNION ALL
      SELECT budget_id, window_start, CASE WHEN usd < 0 THEN at - %(slack)s::interval ELSE at END,
             NULL, NULL, 0, usd FROM moved
    ), replay AS (
      SELECT *, sum(held_usd) OVER (PARTITION BY budget_id, window_start
                                    ORDER BY id NULLS LAST ROWS UNBOUNDED PRECEDING)
              + sum(usd) OVER (PARTITION BY budget_id, window_start
                               ORDER BY at, id NULLS LAST ROWS UNBOUNDED PRECEDING)
              + CASE WHEN %(from_at)s::timestamptz = '-infinity' THEN 0 ELSE now_usd
                  - sum(held_usd + usd) OVER (PARTITION BY budget_id, window_start) END AS used_usd
      FROM steps JOIN path USING (budget_id, window_start) WHERE at >= %(from_at)s
    )
    SELECT public_id, format('held %%s when %%s had %%s spent and held with it, above its limit of %%s',
                             held_usd, {BALANCE_NAME}, used_usd, most.limit_usd)
    FROM replay JOIN hard ON hard.id = replay.budget_id CROSS JOIN LATERAL (
      -- The highest limit that the decision may have seen.
      SELECT coalesce(max(coalesce(l.amount_usd, 'Infinity'::numeric)), 'Infinity'::numeric) + (
        SELECT coalesce(sum(t.amount_usd), 0) FROM budgets_budgetlimit t
        WHERE t.budget_id = replay.budget_id AND t.kind = 'top_up' AND t.valid_from <= replay.at
          AND t.valid_until > replay.at - %(slack)s::interval) AS limit_usd
      FROM budgets_budgetlimit l
      WHERE l.budget_id = replay.budget_id AND l.kind = 'base' AND l.valid_from <= replay.at
        AND NOT EXISTS (SELECT FROM budgets_budgetlimit n
                        WHERE n.budget_id = l.budget_id AND n.kind = 'base'
                          AND (n.valid_from, n.id) > (l.valid_from, l.id)
                          AND greatest(n.valid_from, n.recorded_at) <= replay.at - %(slack)s::interval)
    ) most
    WHERE replay.id IS NOT NULL AND replay.held_usd > 0 AND replay.at > hard.hard_since
      AND replay.at > %(from_at)s::timestamptz + 2 * %(slack)s::interval
      AND replay.used_usd > hard.least_usd AND replay.used_usd > most.limit_usd
    ORDER BY replay.id
    """,
)

RULES = (
    BALANCES,
    WINDOWS,
    RESOLUTIONS,
    RATES,
    CORRECTIONS,
    ATTRIBUTION,
    OVERRUNS,
    LEASES,
    LEASED_CALLS,
    ADMISSIONS,
)
