"""Operations on arrays that every layer shares; imports nothing of ours."""
