/* The machine of the log loses power: records that were not on its disk are gone, and their offsets are given again. */

#ifdef ACK_BY_PLACE
#ifndef WORK_READ_BEFORE_LOSS
#define FORGET_WORK drop_work()
#endif
#endif
#ifndef FORGET_WORK
#define FORGET_WORK skip
#endif

active proctype Power() {
  byte r;
end:
  do
  :: atomic { length > 0 && losses < LOSSES && FAULT ->
       SPEND; losses++; interrupted = true;
       do
       :: length > 0 ->
          length--; log[length] = 0; taken_after[length] = 0;
          if :: true -> break :: true fi
       :: length == 0 -> break
       od;
       d_step {
         FORGET_WORK;
#ifdef ACK_BY_PLACE
         do
         :: r < REPLICAS -> long_append[r] = !settled[r]; r++
         :: else -> break
         od;
#endif
         r = 0 } }
  od
}
