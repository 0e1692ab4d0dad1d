"""The web page of `hsta demo-app`: a clip in, its apex to be corrected, scores and what they rest on.

`intake` reads an upload, `analysis` answers for it, `views` writes what is shown; none of them knows of Gradio.
`page` lays them out as a Gradio app, `serving` runs it, and `space` writes it out as a Hugging Face Space.
"""
