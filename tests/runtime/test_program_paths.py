"""Where a program's paths are on a node."""

from distpool.runtime.program_paths import ProgramPaths, main_here

OWN = ["/node/site-packages"]


def test_shipped_paths_come_first_then_those_of_the_node_then_others_that_it_has(tmp_path):
    copy, shared = tmp_path / "copy", tmp_path / "shared"
    (copy / "src" / "data").mkdir(parents=True)
    shared.mkdir()
    paths = ProgramPaths(
        "/home/me/project", ["/home/me/project/src", str(shared), "/home/me/lib"], ["/usr/lib/me", str(tmp_path)]
    )
    main = {
        "sys_argv": ["x"],
        "dir": "/home/me/project/src/data",
        "orig_dir": "/home/me/project/gone",
        "init_main_from_path": "/home/me/project/src/main.py",
    }
    assert main_here(main, paths, str(copy), OWN) == {
        "sys_path": [f"{copy}/src", str(copy), *OWN, str(shared), str(tmp_path)],
        "sys_argv": ["x"],
        "dir": f"{copy}/src/data",
        "orig_dir": str(copy),
        "init_main_from_path": f"{copy}/src/main.py",
    }


def test_a_working_directory_elsewhere_is_the_shipped_folder():
    here = main_here({"dir": "/home/me/projects"}, ProgramPaths("/home/me/project", [], []), "/", OWN)
    assert here["dir"] == "/"


def test_without_a_shipped_folder_the_programs_paths_count_where_they_are(tmp_path):
    paths = ProgramPaths("", [str(tmp_path), "/no/such"], ["/no/such/site-packages"])
    main = {"dir": str(tmp_path), "orig_dir": "/no/such", "init_main_from_path": "/no/such/main.py"}
    assert main_here(main, paths, "", OWN) == {
        "sys_path": [str(tmp_path), *OWN],
        "dir": str(tmp_path),
        "init_main_from_path": "/no/such/main.py",
    }
