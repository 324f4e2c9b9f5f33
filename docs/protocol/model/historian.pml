/* The historian of one partition (cloud_ingest/historian), and a second process that believes it is. */

#ifdef NO_DEDUPLICATION
#define is_new(b) true
#else
#define is_new(b) (!(arrived & name(b)))                    /* interpreter.py: _of_agent */
#endif

#ifdef LOSES_END
#define record   log[place]
#define can_read (!interrupted && place < length)           /* reader.py: _fetch; it looks before it goes on */
#else
#define record   log[0]
#define can_read (length > 0)
#endif

/* place.py: move; storing.py: _ledger; nobody else has stored anything since */
#if defined(NO_FENCE)
#define may_store true
#elif !defined(LOSES_END)
#define may_store (!place_moved)
#elif defined(NO_REVISION)
#define may_store (work_place == place)
#else
#define may_store (work_place == place && !place_moved)
#endif

inline enter_rows(w) {                 /* storing.py: write; the samples */
  /* Each batch is stored at most once (interpreter.py: _of_agent; place.py: move; storing.py: _ledger). */
  stored_once = !(stored & w); assert(stored_once);
  stored = stored | w
}

inline enter_ledger(w) {               /* interpreter.py: _of_agent, _records; storing.py: _ledger; all else */
  arrived = arrived | name(w);
  n = 0;
  do
  :: n < STARTS ->
     if
     :: w == start_row[n] ->           /* interpreter.py: _epoch_start */
        told_from = told_from | from[n]; true_from = true_from | from[n]; true_to = true_to | to[n];
#if defined(LAST_START_WINS)
        told_to = told_to & ~above(below(to[n])) | to[n]
#elif !defined(EPOCH_ENDS_IGNORED)
        told_to = told_to | to[n]
#endif
     :: else
     fi;
     n++
  :: else -> break
  od;
  n = 0;
#ifdef RECORDS
  do
  :: n < gaps && gap_row[n] == w -> explained = explained | gap_of[n]; n++
  :: n < gaps && gap_row[n] != w -> n++
  :: else -> break
  od;
  n = 0;
  if
  :: w & definitions -> known_definition = true; stored = stored | parked; parked = 0
  :: w & samples && !known_definition -> parked = parked | w; stored = stored & ~w
  :: else
  fi
#endif
}

inline note_duplicate(w) {
  /* What is called a duplicate is stored already, also after a restored image (model/delivery.py: new_epoch; interpreter.py:
     _of_agent). */
  new_is_no_duplicate = ((stored | parked) & w) != 0; assert(new_is_no_duplicate)
}

inline go_on() {                       /* place.py: move; where the log keeps its end, what was read is forgotten */
#ifdef LOSES_END
  last_taken_after = taken_after[place]; place++
#else
  n = 1;
  do
  :: n < length -> log[n - 1] = log[n]; n++
  :: else -> break
  od;
  n = 0; length--; log[length] = 0
#endif
  ; if :: work -> place_moved = true :: else fi
}

active proctype Historian() {
  byte n;
  SET b;
end:
  do
#if defined(OFFSET_APART_FROM_ROWS)
  :: d_step { can_read -> b = record; if :: is_new(b) :: else -> b = 0 fi; go_on() };
     if
     :: d_step { b -> enter_rows(b); enter_ledger(b); b = 0 }
     :: d_step { true -> b = 0 }
     fi
#elif defined(LEDGER_APART_FROM_ROWS)
  :: d_step { can_read && is_new(record) -> enter_rows(record) };
     if
     :: d_step { true -> b = record; enter_ledger(b); b = 0; go_on() }
     :: true
     fi
  :: d_step { can_read && !is_new(record) -> go_on() }
#else
  :: d_step { can_read ->              /* projector.py: _project; storing.py: store; one transaction */
       b = record;
       if
       :: is_new(b) -> enter_rows(b); enter_ledger(b)
       :: else -> note_duplicate(b)
       fi;
       b = 0; go_on() }
#endif
#ifdef LOSES_END
  :: d_step { interrupted ->           /* projector.py: _go_back, _is_as_left, _first_since */
       interrupted = false;
       if
       :: length < place || place > 0 && taken_after[place - 1] != last_taken_after ->
          n = 0;
          do
          :: n < length && n < place && taken_after[n] <= last_taken_after -> n++
          :: else -> break
          od;
          place = n; n = 0
       :: else
       fi }
#endif
  od
}

/* A process that was thought dead, or whose work takes long: between reading and storing, others may have stored. A
   process that crashes in between has done nothing. */
#if defined(LOSES_END) || !defined(LIVE) && !defined(RECORDS)

inline drop_work() {
  work = 0; work_is_new = false; place_moved = false;
#ifdef LOSES_END
  work_place = 0; work_taken_after = 0
#endif
}

active proctype Zombie() {
  byte n;
end:
  do
  :: d_step { work == 0 && can_read ->
       work = record; work_is_new = is_new(work);
#ifdef LOSES_END
       work_place = place; work_taken_after = taken_after[place]
#endif
     }
  :: d_step { work && may_store ->
       if
       :: work_is_new -> enter_rows(work); enter_ledger(work)
       :: else -> note_duplicate(work)
       fi;
#ifdef LOSES_END
       last_taken_after = work_taken_after; place = work_place + 1;
#else
       if :: !place_moved -> go_on() :: else fi;
#endif
       drop_work() }
  :: d_step { work && !may_store -> drop_work() }           /* OffsetMoved: it stores nothing */
  :: d_step { work && FAULT -> SPEND; drop_work() }
  od
}

#endif
