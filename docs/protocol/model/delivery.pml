/*
 * Acknowledged delivery (docs/protocol/delivery.md), for the model checker Spin. README.md beside this file says what
 * is left out, how large it is, and how to run it.
 *
 * A set of batches is a bit mask: bit n - 1 of the field of a start is the batch with number n of that start's epoch.
 * One d_step, or one atomic, is one transaction, one message or one fault. Comments name the file and the functions
 * that do the same.
 */

/* ---- configurations: what can happen, and how much of it ---- */

#if defined(RECORDS)                   /* definitions, refused batches, rows given up for want of room; crashes */
#define STARTS  2
#define NUMBERS 9
#define LOG     1
#define SET     int
#elif defined(LOSES_END)               /* the log can lose what is not on its disk yet; the agent runs on */
#define STARTS  1
#define NUMBERS 2
#ifndef LOG
#define LOG     4
#endif
#define SET     byte
#else                                  /* crashes, and a restored disk image: numbers are given again */
#define STARTS  3
#define SET     short
#endif
#ifndef NUMBERS
#define NUMBERS 4                      /* batch numbers of one disk */
#endif
#ifndef SAMPLES
#define SAMPLES 2                      /* batches of samples */
#endif
#ifndef LOG
#define LOG     2                      /* records of the log: those that are not read yet; with LOSES_END all of them */
#endif
#ifndef LOSSES
#define LOSSES  2                      /* how often the log loses its end */
#endif

/* Without LIVE, faults never end: crashes, losses of power; and the network delivers whatever was sent before, in any
   order, as often as it likes, or never. With LIVE, a run has LIVE faults at most, so that each has a last one. */
#ifdef LIVE
byte faults = LIVE;
#define FAULT (faults > 0)
#define SPEND faults--
#else
#define FAULT true
#define SPEND skip
#endif

/* ---- sets of batches ---- */

#define FIELD       ((1 << NUMBERS) - 1)
#define field(s)    (FIELD << (s) * NUMBERS)
#define part(m, s)  ((m) >> (s) * NUMBERS & FIELD)
#define batch(s, n) (1 << (s) * NUMBERS + (n) - 1)
#define until(b)    ((b) * 2 - 1)      /* it and all before it */
#define since(b)    (~((b) - 1))       /* it and all after it */
#define oldest(m)   ((m) & -(m))
#define is_few(m)   (((m) & (m) - 1) == 0)            /* one or none */

#define down1(e)    ((e) | (e) >> 1)
#define down2(e)    (down1(e) | down1(e) >> 2)
#define down(e)     (down2(e) | down2(e) >> 4 | (e) >> 8)
#define rise1(e)    ((e) | (e) << 1)
#define rise2(e)    (rise1(e) | rise1(e) << 2)
#define rise(e)     ((rise2(e) | rise2(e) << 4 | (e) << 8) & FIELD)
/* of each epoch, all numbers up to the last one in m, and all from the first one on */
#define below(m)    (down(part(m, 0)) | down(part(m, 1)) << NUMBERS | down(part(m, 2)) << 2 * NUMBERS)
#define above(m)    (rise(part(m, 0)) | rise(part(m, 1)) << NUMBERS | rise(part(m, 2)) << 2 * NUMBERS)

/* What messages call batches (epoch and number), and the rows that such names mean: the batches themselves. */
#define fold(m)     (((m) | (m) >> NUMBERS | (m) >> 2 * NUMBERS) & FIELD)
#define spread(m)   (fold(m) | fold(m) << NUMBERS | fold(m) << 2 * NUMBERS)
#ifdef REUSE_EPOCH
#define name(m)     fold(m)
#else
#define name(m)     (m)
#endif
#if defined(REUSE_EPOCH) || defined(ACK_WITHOUT_EPOCH)
#define rows(names) spread(names)
#elif defined(ACK_AS_HIGH_WATER_MARK)
#define rows(names) below(names)
#else
#define rows(names) (names)
#endif

#define ANY(m, b) if \
  :: (m) & 1 -> b = 1         :: (m) & 2 -> b = 2         :: (m) & 4 -> b = 4         :: (m) & 8 -> b = 8 \
  :: (m) & 16 -> b = 16       :: (m) & 32 -> b = 32       :: (m) & 64 -> b = 64       :: (m) & 128 -> b = 128 \
  :: (m) & 256 -> b = 256     :: (m) & 512 -> b = 512     :: (m) & 1024 -> b = 1024   :: (m) & 2048 -> b = 2048 \
  :: (m) & 4096 -> b = 4096   :: (m) & 8192 -> b = 8192   :: (m) & 16384 -> b = 16384 :: (m) & 32768 -> b = 32768 \
  :: (m) & 65536 -> b = 65536 :: (m) & 131072 -> b = 131072 fi

/* ---- the agent ---- */

SET outbox;                            /* on its disk: the table outbox, */
byte epochs, next = 1;                 /*   the table epoch, and which number comes next */
SET image;                             /* an image of that disk */
byte image_epochs, image_next;
bool imaged;
bool running;                          /* in its memory: which start it is, */
byte start;
SET window;                            /*   and what was sent and is not acknowledged (window.py: Window) */
byte starts;                           /* how many starts there were */
byte samples_made;
byte first[STARTS];                    /* by start, its first number; the row that says so; and what that row says: */
SET start_row[STARTS];
SET from[STARTS], to[STARTS];          /*   of its own and earlier epochs, all from the first on, and all to the last */

#define waiting (outbox & ~window)

#ifdef RECORDS
SET definitions, samples;              /* which rows are which */
bool acknowledged_definition;          /* on its disk: definition.acknowledged */
bool connected;                        /* in its memory: the device is there, and has a definition */
SET unloggable;                        /* the log will never take this batch */
SET gap_row[3], gap_of[3];             /* gap records, and the batch that each of them names */
byte gaps;
#define may_send(b) (!((b) & samples) || acknowledged_definition)
#ifdef SAMPLES_BEFORE_DEFINITION
#undef may_send
#define may_send(b) true
#endif
/* feed.py: take; records before samples */
#define leaves_next (waiting & ~samples -> oldest(waiting & ~samples) : oldest(waiting))
#else
#define unloggable 0
#define may_send(b) true
#define leaves_next oldest(waiting)
#endif

/* ---- messages, the log, and the tables of the historian ---- */

SET sent, acks, refusals;              /* batches on their way to the ingest; acknowledgements, refusals back */
SET log[LOG];
byte length;
SET arrived, told_from, told_to;       /* ledger: arrived, and, as masks, first_batch and last_batch */
SET dead_letters, explained;           /* dead_letter; the batches that gaps name */
SET stored, parked;                    /* samples and records; parked_batch */
bool known_definition;
SET work;                              /* a second historian has read this and not stored it yet, */
bool work_is_new, place_moved;         /*   found it new or not, and another has stored something since */
#ifdef LOSES_END
byte place;                            /* projection.next_offset */
byte losses, taken_after[LOG];         /* how often the end was lost; for each record, after which loss it was taken */
byte last_taken_after;                 /*   (the model's order of what the code orders by time: projection.last_ms) */
bool interrupted;                      /* the historian's reader was interrupted */
byte work_place, work_taken_after;
#endif

/* ---- what really happened: nobody in the model looks at this ---- */

SET committed, logged, given_up, lost_with_disk;
SET true_from, true_to;                /* whatever was ever told of the first and last numbers */
bool named_twice;

/* ---- the invariants ---- */

#ifdef LOSES_END
#define durable stored
#define QUIET   (running && outbox == 0)
#else
#define durable logged
#define QUIET   (running && outbox == 0 && length == 0)
#endif
#define missing (((above(arrived) | told_from) & (below(arrived) | told_to) | dead_letters) & ~arrived & ~explained)
#define absent  ((above(stored) | true_from) & (below(stored) | true_to) & committed & ~stored & ~given_up)

bool nothing_is_lost = true, acked_is_durable = true, name_is_given_once = true, samples_can_be_read = true;
bool everything_is_stored = true, missing_is_exact = true, stored_once = true, new_is_no_duplicate = true;

#ifndef UNOBSERVED
active proctype Observer() {
end:
  if
  /* A committed batch is in the outbox, or durable in the cloud, or given up by a gap that was committed with its
     removal. It leaves the outbox by an acknowledgement that names its epoch (buffer/acknowledging.py: delete_acknowledged;
     window.py: acknowledge), or with a gap (edge_agent/buffer/refusing.py: set_aside; giving_up.py: remove). */
  :: d_step { committed & ~(outbox | durable | given_up | lost_with_disk) ->
       nothing_is_lost = false; assert(nothing_is_lost) }
  /* What is acknowledged is durable: in the log (ingest/intake.py: _append, _durable), or, where the log can lose its end,
     stored by the historian (confirming.py: confirmed). */
  :: d_step { acks & ~name(durable) -> acked_is_durable = false; assert(acked_is_durable) }
  /* An epoch and a number together are given once (model/delivery.py: new_epoch; outbox.py: _take_number). */
  :: d_step { named_twice -> name_is_given_once = false; assert(name_is_given_once) }
  /* Samples come behind their definition, and are never parked (sender.py: _may_send). */
  :: d_step { parked -> samples_can_be_read = false; assert(samples_can_be_read) }
  /* When the outbox is empty and the log is read, everything is stored, or given up with a gap that is stored
     (projector.py: _store; storing.py: store; interpreter.py: _records). */
  :: d_step { QUIET && (committed & ~(stored | explained | lost_with_disk)) ->
       everything_is_stored = false; assert(everything_is_stored) }
  /* Then the ledger calls missing exactly what the cloud was told of and will never get (epochs.py:
     begin_epoch; interpreter.py: _epoch_start; the view ledger_state). */
  :: d_step { QUIET && missing != name(absent) -> missing_is_exact = false; assert(missing_is_exact) }
  fi
  /* Two more stand in historian.pml: stored_once, new_is_no_duplicate. */
}
#endif

#include "agent.pml"
#include "ingest.pml"
#include "historian.pml"
#ifdef LOSES_END
#include "power.pml"
#endif

#ifdef LIVE
/* Once there are no more faults, everything ends up stored or given up, and the outbox empty (window.py: due;
   sender.py: _send_due; edge_agent/buffer/refusing.py: set_aside). */
ltl everything_ends { <> [] QUIET }
#endif
