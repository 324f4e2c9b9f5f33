/* The machine of the log loses power: records that were not on its disk are gone, and their offsets are given again. */

active proctype Power() {
end:
  do
  :: atomic { length > 0 && losses < LOSSES && FAULT ->
       SPEND; losses++; interrupted = true;
       do
       :: length > 0 ->
          length--; log[length] = 0; taken_after[length] = 0;
          if :: true -> break :: true fi
       :: length == 0 -> break
       od }
  od
}
