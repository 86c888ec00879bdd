-- Searches by the words of rows.
-- What: search_query.
-- Reads: nothing.
-- Needs: nothing; pipeline.search_words makes the words.

create or replace function pipeline.search_query(tenant text, searched text) returns tsquery
language sql immutable parallel safe
as $$
    -- A single character is a whole word: as the beginning of one it would match most rows.
    with words as (
        select string_agg(
            format('''%s/%s''%s', tenant, left(word, 60), case when length(word) > 1 then ':*' else '' end),
            ' & '
        )::tsquery as query
        from regexp_split_to_table(lower(searched), '[^[:alnum:]]+') as word
        where word <> ''
    ),
    number as (
        select left(ltrim(regexp_replace(searched, '\D', '', 'g'), '0'), 20) as digits
        where searched ~ '^[-0-9+()/. ]+$'
    )
    select case
        when length(number.digits) >= 4
            then words.query
            || format('''%s#%s'':*', tenant, number.digits)::tsquery
            || format('''%s~%s'':*', tenant, reverse(number.digits))::tsquery
        else words.query
    end
    from words
    left join number on true
$$;
comment on function pipeline.search_query(text, text) is
    'The query over search_words that finds rows with each of these words, or beginnings of words, or '
    'with a telephone number that begins or ends with these digits; null if there is no word.';
