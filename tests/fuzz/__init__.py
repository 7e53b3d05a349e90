"""What outside bytes may do to what reads them: nothing but the errors that it promises."""
