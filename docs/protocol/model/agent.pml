/* The agent beside the line (edge_agent), and the network. */

inline commit() {                      /* outbox.py: commit, _take_number */
  assert(next <= NUMBERS);             /* the bounds of this model are wide enough */
  b = batch(start, next);
#ifdef REUSE_EPOCH
  named_twice = named_twice || name(committed) & name(b);
#endif
  committed = committed | b; outbox = outbox | b; next++
}

inline begin() {                       /* outbox.py: _begin_epoch; epochs.py: begin_epoch */
  start = starts; starts++; running = true;
  first[start] = next; from[start] = field(start) & since(batch(start, next));
  e = start; n = next - 1;
  do
  :: e > 0 ->
     e--;
     if
     :: epochs & 1 << e ->             /* it went from its first number to the one before the first of the next epoch */
        from[start] = from[start] | field(e) & since(batch(e, first[e]));
        to[start] = to[start] | field(e) & until(batch(e, n));
        n = first[e] - 1
     :: else
     fi
  :: else -> break
  od;
  n = 0;
  epochs = epochs | 1 << start;
  commit(); start_row[start] = b; b = 0
}

#ifdef RECORDS
inline give_up(row) {                  /* edge_agent/buffer/refusing.py: set_aside; giving_up.py: remove; the row and the gap together */
  outbox = outbox & ~row; window = window & ~row;
#ifndef GIVEN_UP_WITHOUT_GAP
  given_up = given_up | row;
  commit();
  gap_row[gaps] = b; gap_of[gaps] = row; gaps++; b = 0
#endif
}
#endif

active proctype Agent() {
  SET b, row;
  byte e, n;
end:
  do
  :: d_step { !running && starts < STARTS && next <= NUMBERS -> begin() }

#ifndef RECORDS
  :: d_step { running && samples_made < SAMPLES && next <= NUMBERS -> commit(); samples_made++; b = 0 }
#else
  /* outbox.py: _define; a device connects: its definition is told unless the cloud has it, or a row waits for that */
  :: d_step { running && !connected ->
       connected = true;
       if
       :: !acknowledged_definition && !(outbox & definitions) -> commit(); definitions = definitions | b; b = 0
       :: else
       fi }
  :: d_step { running && connected && samples_made < SAMPLES ->
       commit(); samples = samples | b; samples_made++; b = 0 }
  :: atomic { !unloggable && outbox & ~sent & (samples | definitions) ->
       ANY(outbox & ~sent & (samples | definitions), unloggable) }
  /* relief.py: relieve; there is no room, and the oldest samples give way */
  :: d_step { running && outbox & samples -> row = oldest(outbox & samples); give_up(row); row = 0 }
  /* sender.py: _will_be_known; their definition was refused, so samples cannot be sent either */
  :: d_step { running && leaves_next & samples && !acknowledged_definition && !(outbox & definitions) ->
       row = leaves_next; give_up(row); row = 0 }
  /* sender.py: acknowledged; the log will never take it */
  :: d_step { running && outbox & refusals -> row = outbox & refusals; give_up(row); row = 0 }
#endif

  /* sender.py: _send_new; at most two in flight */
  :: d_step { running && waiting && is_few(window) && may_send(leaves_next) ->
       b = leaves_next; sent = sent | b; window = window | b;
#ifdef DELETE_BEFORE_ACK
       outbox = outbox & ~b; window = window & ~b;
#endif
       b = 0 }
#if defined(LIVE) && !defined(NO_RESEND)
  /* window.py: due; nothing moves any more */
  :: atomic { timeout && running && window -> sent = sent | window }
#endif
  /* sender.py: acknowledged; buffer/acknowledging.py: delete_acknowledged */
  :: atomic { running && outbox & rows(acks) -> ANY(outbox & rows(acks), b);
       d_step {
         outbox = outbox & ~b; window = window & ~b;
#ifdef RECORDS
         acknowledged_definition = acknowledged_definition || b & definitions;
#endif
#ifdef LIVE
         acks = acks & ~name(b);
#endif
         b = 0 } }

  /* kill -9, or the loss of power */
  :: d_step { running && starts < STARTS && next <= NUMBERS && FAULT ->
       SPEND; running = false; window = 0;
#ifdef RECORDS
       connected = false
#endif
     }
#if STARTS == 3
  :: d_step { !imaged && starts > 0 && starts < STARTS ->
       imaged = true; image = outbox; image_epochs = epochs; image_next = next }
  :: d_step { !running && image_next && starts < STARTS ->
       outbox = image; epochs = image_epochs; next = image_next;
       image = 0; image_epochs = 0; image_next = 0;
       lost_with_disk = committed & ~(outbox | logged) }
#endif
  od
}

#ifdef LIVE
active proctype Network() {
  SET b;
end:
  do
  :: atomic { sent && FAULT -> SPEND; ANY(sent, b); sent = sent & ~b; b = 0 }
  :: atomic { acks && FAULT -> SPEND; ANY(acks, b); acks = acks & ~b; b = 0 }
  od
}
#endif
