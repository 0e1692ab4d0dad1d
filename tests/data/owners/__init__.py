"""Writers of databases in their owners' layouts, one module a database. Pictures are coloured tiles: nobody's face."""
