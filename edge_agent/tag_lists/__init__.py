"""Lists of tags as engineering tools have them: spreadsheets, exports of PLC programs, OPC UA models."""
