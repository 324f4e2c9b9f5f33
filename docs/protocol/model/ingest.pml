/*
 * The ingest: any of its replicas may append and acknowledge. Where the log can lose its end, a batch is acknowledged
 * when the ledger has it (confirming.py: confirmed).
 */

inline append(b) {                     /* ingest/intake.py: _append, _append_alone */
  if
  :: b & unloggable -> dead_letters = dead_letters | b
#ifndef REFUSAL_NOT_TOLD
     ; refusals = refusals | b
#endif
  :: else ->
     log[length] = b; logged = logged | b;
#ifdef LOSES_END
     taken_after[length] = losses;
#endif
     length++
  fi
}

#ifdef LIVE

/* Replicas that keep what they have taken, and lose it when they crash. The answer to an append may be lost. */
#ifdef RECORDS
#define REPLICAS 1
#else
#define REPLICAS 2
#endif
active [REPLICAS] proctype Replica() {
  SET taken;
#ifdef LOSES_END
  SET waits;
#endif
end:
  do
  :: atomic { taken == 0 && sent -> ANY(sent, taken);
       if
       :: true -> sent = sent & ~taken
       :: FAULT -> SPEND               /* the network delivers it once more */
       fi }
  :: d_step { taken && length < LOG && FAULT -> SPEND; append(taken) }
#ifndef LOSES_END
  :: d_step { taken && length < LOG -> append(taken); acks = acks | taken & ~unloggable; taken = 0 }
  :: d_step { taken && FAULT -> SPEND; taken = 0 }
#else
  :: d_step { taken && length < LOG -> append(taken); waits = waits | taken; taken = 0 }
  :: d_step { waits & arrived -> acks = acks | waits & arrived; waits = waits & ~arrived }
  :: d_step { (taken | waits) && FAULT -> SPEND; taken = 0; waits = 0 }
#endif
  od
}

#else

/* All replicas together: what they keep in memory adds nothing to a network that may delay and lose what it likes. */
active proctype Replicas() {
  SET b;
end:
  do
  :: atomic { sent && length < LOG -> ANY(sent, b);
       d_step {
         append(b);
#ifndef LOSES_END
         acks = acks | name(b & ~unloggable);
#endif
         b = 0 } }
#if defined(LOSES_END)
  :: atomic { arrived & ~acks -> ANY(arrived & ~acks, b); acks = acks | b; b = 0 }
#endif
#if defined(ACK_BEFORE_LOG)
  :: atomic { sent & ~acks -> ANY(sent & ~acks, b); acks = acks | b; b = 0 }
#elif defined(ACK_LOGGED)
  :: atomic { logged & ~acks -> ANY(logged & ~acks, b); acks = acks | b; b = 0 }
#endif
  od
}

#endif
