"""The HTML report: what a run folder and its data say, measured, drawn and set on one self-contained page.

`facts` reads the folder, `measure` and `attacked` ask the product, `svg`, `charts`, `matrix` and `pictures` draw,
`sections`, `trained`, `style` and `page` set the page. Nothing here is loaded from anywhere: no library, no font.
"""
