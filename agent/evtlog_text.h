/* The texts that the Windows Event Log source reads and writes: an event's record id and time, positions, bookmarks. Pure.
 *
 *     position    evtlog RECORD-ID FILETIME         the last record that was taken
 *     bookmark    <BookmarkList><Bookmark Channel='..' RecordId='..' IsCurrent='true'/></BookmarkList> */
#ifndef HAECHI_EVTLOG_TEXT_H
#define HAECHI_EVTLOG_TEXT_H

#include "buf.h"

/* From the text of one rendered event, in WTF-8: looks into <System> only. Returns whether it is whole (ends in </Event>)
 * and has a record id; a missing or malformed time is 0. */
bool evtlog_text_facts(struct slice xml, uint64_t *ret_id, uint64_t *ret_time);

/* Whether UTF-16LE text, without or with final NULs and blanks, ends in </Event>. */
bool evtlog_text_is_whole(struct slice utf16);

void evtlog_position_write(struct buf *out, uint64_t id, uint64_t time);
/* ST_FORMAT for anything else; id is at least 1. */
MUST_USE enum status evtlog_position_parse(struct slice s, uint64_t *ret_id, uint64_t *ret_time);

void evtlog_bookmark_write(struct buf *out, struct slice channel, uint64_t id);
/* The record id of a bookmark as Windows renders it, for logs whose events carry other ids (ForwardedEvents). */
MUST_USE enum status evtlog_bookmark_parse(struct slice xml, uint64_t *ret_id);

#endif
