/*
 * The ingest where the log can lose its end, and one process takes everything: an acknowledgement rests on the
 * historian's place in the log, not on what it has stored. README.md says what has to be assumed for that to be safe;
 * each switch drops one of these assumptions.
 */

#ifdef FORMER_HOST
#define REPLICAS 2
#else
#define REPLICAS 1
#endif
#define UNKNOWN 255                    /* the database is away */

byte host;                             /* who holds the lock of the host */
SET pending[REPLICAS];                 /* Pending: one message */
bool settled[REPLICAS] = true;         /* no append is on its way, and the last one has not failed */
bool certain[REPLICAS];                /* Intake._certain */
byte ends[REPLICAS], beyond[REPLICAS]; /* Acknowledging._ends, _beyond */
SET waits[REPLICAS * LOG];             /* Acknowledging._waiting: by the offset that the batch was given */
bool long_append[REPLICAS];            /* the log was started again during the append: it took more than a second */

inline forget_appended() {             /* acknowledging.py: forget_appended */
  n = 0;
  do
  :: n < LOG -> waits[r * LOG + n] = 0; n++
  :: else -> break
  od;
  n = 0
}

inline projected(seen) {               /* acknowledging.py: passed */
  if :: seen < beyond[r] -> beyond[r] = 0 :: else fi;
  n = 0;
  do
  :: n < LOG && n < seen -> acks = acks | waits[r * LOG + n]; waits[r * LOG + n] = 0; n++
  :: else -> break
  od;
  n = 0
}

inline appended() {                    /* acknowledging.py: appended */
  is_lost = at < ends[r];
  n = at;
  do
  :: is_lost && n < LOG -> waits[r * LOG + n] = 0; n++
  :: else -> break
  od;
  n = 0; ends[r] = at + 1;
  if :: at >= beyond[r] -> beyond[r] = 0 :: else fi
}

inline stands_beyond(places) {         /* intake.py: _compare, _durable; acknowledging.py: stands_beyond */
  certain[r] = places != UNKNOWN;
  if
  :: places == UNKNOWN -> beyond[r] = at + 1
  :: places != UNKNOWN && places > at -> beyond[r] = places
  :: else
  fi;
  if :: at + 1 > beyond[r] -> waits[r * LOG + at] = pending[r] :: else fi;
  pending[r] = 0; settled[r] = true; long_append[r] = false; before = 0; at = 0; is_lost = false
}

inline append_failed() {               /* intake.py: append_forever, is_uncertain */
  certain[r] = false; before = 0;
#ifndef WAITS_ARE_KEPT
  forget_appended()
#endif
}

active [REPLICAS] proctype Appending() {
  byte r = _pid - 2, n, before, at;
  bool is_lost;
end:
  do
  :: atomic { host == r && pending[r] == 0 && sent -> ANY(sent, pending[r]) }
  :: d_step { pending[r] && length < LOG ->                 /* intake.py: _append_together */
       settled[r] = false; long_append[r] = false;
       if :: certain[r] :: else -> before = place fi };
     if
     :: d_step { length < LOG ->
          at = length; log[at] = pending[r]; taken_after[at] = losses; logged = logged | log[at]; length++;
          appended();
          if :: !is_lost && !long_append[r] -> stands_beyond(before) :: else fi };
        if
        :: settled[r]
        :: d_step { !settled[r] -> stands_beyond(place) }
        :: d_step { !settled[r] -> stands_beyond(UNKNOWN) }
        fi
     :: d_step { length < LOG ->                            /* the log has it, and the answer is lost */
          log[length] = pending[r]; taken_after[length] = losses; logged = logged | pending[r]; length++;
          append_failed() }
     :: d_step { true -> append_failed() }                  /* the log is away */
     fi
#ifdef ONE_CERTAINTY
  :: d_step { host == r && settled[r] -> certain[r] = true }                    /* by an append to another partition */
#endif
#ifdef FORMER_HOST
  :: d_step { host != r -> host = r; certain[r] = false; forget_appended() }    /* bridge.py: _as_host */
#endif
  od
}

active [REPLICAS] proctype Acknowledging() {                /* intake.py: _pass_projected */
  byte r = _pid - 2 - REPLICAS, n, seen;
end:
  do
#ifndef PLACE_READ_EARLY
  :: d_step { host == r && settled[r] -> projected(place) }
#else
  :: d_step { host == r -> seen = place };
     if
     :: d_step { host == r && settled[r] -> projected(seen) }
     :: true
     fi;
     seen = 0
#endif
  od
}
