"""An example app. Replace it with your own."""

import streamlit as st

st.title("Hello")
number = st.slider("A number", 0, 100, 10)
st.write(f"Its square is {number**2}.")
file = st.file_uploader("A file")
if file:
    st.write(f"{file.name} has {file.size} bytes.")
st.caption(f"You connect from {st.context.ip_address}.")
